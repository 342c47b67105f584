package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"countersign.dev/test/go/internal/dial"

	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc"
)

const distinctCSRs = 1000

// connect makes a connection for each caller, or the same for all.
func connect(ctx context.Context, o options, address string) ([]*grpc.ClientConn, func(), error) {
	conns := make([]*grpc.ClientConn, o.callers)
	releases := []func(){}
	release := func() {
		for _, each := range releases {
			each()
		}
	}
	for i := range conns {
		if o.shared && i > 0 {
			conns[i] = conns[0]
			continue
		}
		target := dial.Options{Address: address, MaxMessageMB: 64}
		conn, done, err := target.Connect(ctx)
		if err != nil {
			release()
			return nil, nil, err
		}
		conns[i] = conn
		releases = append(releases, done)
	}
	return conns, release, nil
}

// eachCaller builds a plan over the callers' connections.
func eachCaller(ctx context.Context, o options, address string, call func(*grpc.ClientConn) func(context.Context) error) (*plan, error) {
	conns, release, err := connect(ctx, o, address)
	if err != nil {
		return nil, err
	}
	p := &plan{units: 1, close: release}
	for _, conn := range conns {
		p.calls = append(p.calls, call(conn))
	}
	return p, nil
}

func mintX509(ctx context.Context, o options) (*plan, error) {
	csrs, err := makeCSRs(o, distinctCSRs)
	if err != nil {
		return nil, err
	}
	var next atomic.Uint64
	return eachCaller(ctx, o, o.admin, func(conn *grpc.ClientConn) func(context.Context) error {
		client := svidv1.NewSVIDClient(conn)
		return func(ctx context.Context) error {
			response, err := client.MintX509SVID(ctx, &svidv1.MintX509SVIDRequest{Csr: csrs[next.Add(1)%distinctCSRs]})
			if err == nil && len(response.GetSvid().GetCertChain()) == 0 {
				err = fmt.Errorf("no certificate in the response")
			}
			return err
		}
	})
}

func mintJWT(ctx context.Context, o options) (*plan, error) {
	id := &types.SPIFFEID{TrustDomain: o.trustDomain.Name(), Path: "/bench/mint"}
	return eachCaller(ctx, o, o.admin, func(conn *grpc.ClientConn) func(context.Context) error {
		client := svidv1.NewSVIDClient(conn)
		return func(ctx context.Context) error {
			response, err := client.MintJWTSVID(ctx, &svidv1.MintJWTSVIDRequest{Id: id, Audience: []string{"bench"}})
			if err == nil && response.GetSvid().GetToken() == "" {
				err = fmt.Errorf("no token in the response")
			}
			return err
		}
	})
}

// createEntries makes entries that no running workload matches, with IDs that are new in every run.
func createEntries(ctx context.Context, o options) (*plan, error) {
	if o.batch == 0 {
		o.batch = 100
	}
	run := time.Now().UnixNano()
	var next atomic.Uint64
	p, err := eachCaller(ctx, o, o.admin, func(conn *grpc.ClientConn) func(context.Context) error {
		client := entryv1.NewEntryClient(conn)
		return func(ctx context.Context) error {
			request := &entryv1.BatchCreateEntryRequest{}
			for range o.batch {
				n := next.Add(1)
				request.Entries = append(request.Entries, newEntry(o, fmt.Sprintf("/bench/%d/%d", run, n), 1_000_000_000+n))
			}
			response, err := client.BatchCreateEntry(ctx, request)
			if err != nil {
				return err
			}
			for _, each := range response.GetResults() {
				if each.GetStatus().GetCode() != 0 {
					return fmt.Errorf("create: %s", each.GetStatus().GetMessage())
				}
			}
			return nil
		}
	})
	if p != nil {
		p.units = o.batch
	}
	return p, err
}

// newEntry has -parent as its parent, or else an ID that no agent has.
func newEntry(o options, path string, uid uint64) *types.Entry {
	parent := &types.SPIFFEID{TrustDomain: o.trustDomain.Name(), Path: "/bench/parent"}
	if o.parent != "" {
		parent.Path = o.parent[len(o.trustDomain.IDString()):]
	}
	return &types.Entry{
		SpiffeId:  &types.SPIFFEID{TrustDomain: o.trustDomain.Name(), Path: path},
		ParentId:  parent,
		Selectors: []*types.Selector{{Type: "unix", Value: fmt.Sprintf("uid:%d", uid)}},
	}
}

func makeCSRs(o options, count int) ([][]byte, error) {
	csrs := make([][]byte, count)
	for i := range csrs {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		id := &url.URL{Scheme: "spiffe", Host: o.trustDomain.Name(), Path: fmt.Sprintf("/bench/mint/%d", i)}
		csrs[i], err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id}}, key)
		if err != nil {
			return nil, err
		}
	}
	return csrs, nil
}
