package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"countersign.dev/test/go/internal/dial"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	bundlev1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/bundle/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// batchX509 attests as an agent, gives it as many entries as a batch has items, and then signs for them.
func batchX509(ctx context.Context, o options) (*plan, error) {
	if o.batch == 0 {
		o.batch = 50
	}
	target := dial.Options{Address: o.admin, MaxMessageMB: 64}
	admin, release, err := target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	bundle, err := ownBundle(ctx, o, admin)
	if err != nil {
		return nil, err
	}
	svid, err := attest(ctx, o, admin, bundle)
	if err != nil {
		return nil, err
	}
	csrs, err := makeCSRs(o, distinctCSRs)
	if err != nil {
		return nil, err
	}
	p := &plan{units: o.batch, close: func() {}}
	conns := []*grpc.ClientConn{}
	for range o.callers {
		conn, err := dial.MTLS(o.server, svid, bundle)
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	entryIDs, err := authorizedEntries(ctx, o, authorizedParams{admin: admin, agent: conns[0], agentID: svid.ID})
	if err != nil {
		return nil, err
	}
	var next atomic.Uint64
	for _, conn := range conns {
		client := svidv1.NewSVIDClient(conn)
		p.calls = append(p.calls, func(ctx context.Context) error { return signBatch(ctx, client, entryIDs, csrs, &next) })
	}
	return p, nil
}

func signBatch(ctx context.Context, client svidv1.SVIDClient, entryIDs []string, csrs [][]byte, next *atomic.Uint64) error {
	request := &svidv1.BatchNewX509SVIDRequest{}
	for _, id := range entryIDs {
		request.Params = append(request.Params, &svidv1.NewX509SVIDParams{EntryId: id, Csr: csrs[next.Add(1)%distinctCSRs]})
	}
	response, err := client.BatchNewX509SVID(ctx, request)
	if err != nil {
		return err
	}
	for _, each := range response.GetResults() {
		if each.GetStatus().GetCode() != 0 {
			return fmt.Errorf("sign: %s", each.GetStatus().GetMessage())
		}
	}
	return nil
}

func ownBundle(ctx context.Context, o options, admin *grpc.ClientConn) (*x509bundle.Bundle, error) {
	response, err := bundlev1.NewBundleClient(admin).GetBundle(ctx, &bundlev1.GetBundleRequest{})
	if err != nil {
		return nil, err
	}
	bundle := x509bundle.New(o.trustDomain)
	for _, authority := range response.GetX509Authorities() {
		certificate, err := x509.ParseCertificate(authority.GetAsn1())
		if err != nil {
			return nil, err
		}
		bundle.AddX509Authority(certificate)
	}
	return bundle, nil
}

// attest makes a join token and uses it.
func attest(ctx context.Context, o options, admin *grpc.ClientConn, bundle *x509bundle.Bundle) (*x509svid.SVID, error) {
	token, err := agentv1.NewAgentClient(admin).CreateJoinToken(ctx, &agentv1.CreateJoinTokenRequest{Ttl: 600})
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	config := tlsconfig.TLSClientConfig(bundle, tlsconfig.AuthorizeMemberOf(o.trustDomain))
	chain, err := exchange(ctx, o.server, config, &agentv1.AttestAgentRequest_Params{
		Data:   &types.AttestationData{Type: "join_token", Payload: []byte(token.GetValue())},
		Params: &agentv1.AgentX509SVIDParams{Csr: csr},
	})
	if err != nil {
		return nil, err
	}
	svid := &x509svid.SVID{PrivateKey: key, Certificates: chain}
	svid.ID, err = x509svid.IDFromCert(chain[0])
	return svid, err
}

// exchange is AttestAgent for an attestor without a challenge.
func exchange(ctx context.Context, server string, config *tls.Config, params *agentv1.AttestAgentRequest_Params) ([]*x509.Certificate, error) {
	conn, err := grpc.NewClient(dial.Target(server), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stream, err := agentv1.NewAgentClient(conn).AttestAgent(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{Params: params}}); err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	chain := []*x509.Certificate{}
	for _, der := range response.GetResult().GetSvid().GetCertChain() {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("attestation returned no certificate")
	}
	return chain, nil
}

type authorizedParams struct {
	admin   *grpc.ClientConn
	agent   *grpc.ClientConn
	agentID spiffeid.ID
}

// authorizedEntries makes the agent's entries and waits until the server lets it have them all.
func authorizedEntries(ctx context.Context, o options, p authorizedParams) ([]string, error) {
	o.parent = p.agentID.String()
	request := &entryv1.BatchCreateEntryRequest{}
	for i := range o.batch {
		request.Entries = append(request.Entries, newEntry(o, fmt.Sprintf("%s/workload/%d", p.agentID.Path()[len("/spire"):], i), uint64(2_000_000_000+i)))
	}
	if _, err := entryv1.NewEntryClient(p.admin).BatchCreateEntry(ctx, request); err != nil {
		return nil, err
	}
	for {
		response, err := entryv1.NewEntryClient(p.agent).GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{})
		if err != nil {
			return nil, err
		}
		if len(response.GetEntries()) == o.batch {
			ids := []string{}
			for _, entry := range response.GetEntries() {
				ids = append(ids, entry.GetId())
			}
			return ids, nil
		}
		time.Sleep(200 * time.Millisecond)
	}
}
