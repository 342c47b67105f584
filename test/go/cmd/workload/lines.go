package main

import (
	"encoding/hex"
	"encoding/pem"
	"sort"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/exp/bundle/witbundle"
	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// x509Line has each SVID and whether it verifies against the bundles of the same message.
func x509Line(update *workloadapi.X509Context) map[string]any {
	svids := []map[string]any{}
	for _, svid := range update.SVIDs {
		line := map[string]any{
			"id":        svid.ID.String(),
			"hint":      svid.Hint,
			"serial":    hex.EncodeToString(svid.Certificates[0].SerialNumber.Bytes()),
			"notBefore": svid.Certificates[0].NotBefore.Unix(),
			"notAfter":  svid.Certificates[0].NotAfter.Unix(),
			"dnsNames":  svid.Certificates[0].DNSNames,
			"chain":     len(svid.Certificates),
			"pem":       pemOf(svid),
		}
		if _, _, err := x509svid.Verify(svid.Certificates, update.Bundles); err != nil {
			line["invalid"] = err.Error()
		}
		svids = append(svids, line)
	}
	return map[string]any{"svids": svids, "bundles": x509Bundles(update.Bundles)}
}

func pemOf(svid *x509svid.SVID) string {
	text := []byte{}
	for _, certificate := range svid.Certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	return string(text)
}

func jwtLines(svids []*jwtsvid.SVID) []map[string]any {
	lines := []map[string]any{}
	for _, svid := range svids {
		lines = append(lines, map[string]any{
			"id":       svid.ID.String(),
			"hint":     svid.Hint,
			"audience": svid.Audience,
			"expiry":   svid.Expiry.Unix(),
			"claims":   svid.Claims,
			"token":    svid.Marshal(),
		})
	}
	return lines
}

// witLine has each SVID and, where bundles are given, whether it verifies against them.
func witLine(svids []*witsvid.SVID, bundles *witbundle.Set) map[string]any {
	lines := []map[string]any{}
	for _, svid := range svids {
		line := map[string]any{
			"id":     svid.ID.String(),
			"hint":   svid.Hint,
			"keyId":  svid.KeyID,
			"expiry": svid.Expiry.Unix(),
			"token":  svid.Marshal(),
		}
		if bundles != nil {
			if _, err := witsvid.ParseAndValidate(svid.Marshal(), bundles); err != nil {
				line["invalid"] = err.Error()
			}
		}
		lines = append(lines, line)
	}
	return map[string]any{"svids": lines}
}

// x509Bundles has the serial numbers of each trust domain's authorities.
func x509Bundles(set *x509bundle.Set) map[string][]string {
	bundles := map[string][]string{}
	for _, bundle := range set.Bundles() {
		serials := []string{}
		for _, authority := range bundle.X509Authorities() {
			serials = append(serials, hex.EncodeToString(authority.SerialNumber.Bytes()))
		}
		bundles[bundle.TrustDomain().IDString()] = serials
	}
	return bundles
}

// jwtBundles has the key IDs of each trust domain's authorities.
func jwtBundles(set *jwtbundle.Set) map[string][]string {
	bundles := map[string][]string{}
	for _, bundle := range set.Bundles() {
		bundles[bundle.TrustDomain().IDString()] = sortedKeys(bundle.JWTAuthorities())
	}
	return bundles
}

func witBundles(set *witbundle.Set) map[string][]string {
	bundles := map[string][]string{}
	for _, bundle := range set.Bundles() {
		bundles[bundle.TrustDomain().IDString()] = sortedKeys(bundle.WITAuthorities())
	}
	return bundles
}

func sortedKeys[V any](values map[string]V) []string {
	keys := []string{}
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
