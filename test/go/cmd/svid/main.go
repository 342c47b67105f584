// Command svid answers, as go-spiffe and crypto/x509 see it, questions about identity documents.
// It reads one JSON question per line and writes one JSON answer per line, so that a test can compare
// our own answers with theirs.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

type question struct {
	Op          string          `json:"op"`
	Text        string          `json:"text"`
	Der         []byte          `json:"der"`
	Chain       [][]byte        `json:"chain"`
	Token       string          `json:"token"`
	Audience    []string        `json:"audience"`
	TrustDomain string          `json:"trustDomain"`
	Bundle      json.RawMessage `json:"bundle"`
	NowMs       int64           `json:"nowMs"`
}

type answer struct {
	Ok      bool     `json:"ok"`
	Error   string   `json:"error,omitempty"`
	ID      string   `json:"id,omitempty"`
	URIs    []string `json:"uris,omitempty"`
	DNS     []string `json:"dns,omitempty"`
	Subject string   `json:"subject,omitempty"`
	Keys    []string `json:"keys,omitempty"`
	Count   int      `json:"count,omitempty"`
	Extra   any      `json:"extra,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		a, err := answerTo(q)
		if err != nil {
			a = answer{Error: err.Error()}
		} else {
			a.Ok = true
		}
		if err := out.Encode(a); err != nil {
			os.Exit(1)
		}
	}
}

func answerTo(q question) (answer, error) {
	switch q.Op {
	case "id":
		id, err := spiffeid.FromString(q.Text)
		return answer{ID: id.String()}, err
	case "trustDomain":
		td, err := spiffeid.TrustDomainFromString(q.Text)
		return answer{ID: td.IDString()}, err
	case "certificate":
		return certificate(q.Der)
	case "csr":
		return request(q.Der)
	case "bundle":
		return describeBundle(q)
	}
	bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(q.TrustDomain), q.Bundle)
	if err != nil {
		return answer{}, fmt.Errorf("bundle: %w", err)
	}
	switch q.Op {
	case "x509":
		id, _, err := x509svid.ParseAndVerify(q.Chain, bundle, x509svid.WithTime(time.UnixMilli(q.NowMs)))
		return answer{ID: id.String()}, err
	case "jwt":
		svid, err := jwtsvid.ParseAndValidate(q.Token, bundle, q.Audience)
		if err != nil {
			return answer{}, err
		}
		return answer{ID: svid.ID.String(), Extra: svid.Claims}, nil
	case "wit":
		svid, err := witsvid.ParseAndValidate(q.Token, bundle)
		if err != nil {
			return answer{}, err
		}
		return answer{ID: svid.ID.String()}, nil
	default:
		return answer{}, fmt.Errorf("unknown op %q", q.Op)
	}
}

func certificate(der []byte) (answer, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return answer{}, err
	}
	a := answer{DNS: cert.DNSNames, Subject: cert.Subject.String()}
	for _, uri := range cert.URIs {
		a.URIs = append(a.URIs, uri.String())
	}
	a.Extra = map[string]any{
		"serial":      cert.SerialNumber.Text(16),
		"notBeforeMs": cert.NotBefore.UnixMilli(),
		"notAfterMs":  cert.NotAfter.UnixMilli(),
		"isCa":        cert.IsCA,
		"keyUsage":    int(cert.KeyUsage),
		"purposes":    cert.ExtKeyUsage,
		"skid":        fmt.Sprintf("%x", cert.SubjectKeyId),
		"akid":        fmt.Sprintf("%x", cert.AuthorityKeyId),
		"algorithm":   cert.SignatureAlgorithm.String(),
		"unhandled":   len(cert.UnhandledCriticalExtensions),
	}
	return a, nil
}

func request(der []byte) (answer, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return answer{}, err
	}
	if err := csr.CheckSignature(); err != nil {
		return answer{}, err
	}
	a := answer{DNS: csr.DNSNames, Subject: csr.Subject.String()}
	for _, uri := range csr.URIs {
		a.URIs = append(a.URIs, uri.String())
	}
	return a, nil
}

func describeBundle(q question) (answer, error) {
	bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(q.TrustDomain), q.Bundle)
	if err != nil {
		return answer{}, err
	}
	a := answer{Count: len(bundle.X509Authorities())}
	for kid := range bundle.JWTAuthorities() {
		a.Keys = append(a.Keys, "jwt:"+kid)
	}
	for kid := range bundle.WITAuthorities() {
		a.Keys = append(a.Keys, "wit:"+kid)
	}
	sequence, _ := bundle.SequenceNumber()
	hint, _ := bundle.RefreshHint()
	a.Extra = map[string]any{"sequence": fmt.Sprint(sequence), "hintSeconds": int(hint.Seconds())}
	return a, nil
}
