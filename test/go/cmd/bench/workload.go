package main

import (
	"context"
	"fmt"

	"countersign.dev/test/go/internal/dial"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

var audience = []string{"bench"}

// fetchOnce takes the first message of the stream, which is all that a workload waits for.
func fetchOnce(ctx context.Context, client workload.SpiffeWorkloadAPIClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.FetchX509SVID(withHeader(ctx), &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	response, err := stream.Recv()
	if err == nil && len(response.GetSvids()) == 0 {
		err = fmt.Errorf("no SVID in the response")
	}
	return err
}

func withHeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
}

func fetchX509New(_ context.Context, o options) (*plan, error) {
	p := &plan{units: 1, close: func() {}}
	for range o.callers {
		p.calls = append(p.calls, func(ctx context.Context) error {
			target := dial.Options{Address: o.workloadAPI, MaxMessageMB: 64}
			conn, release, err := target.Connect(ctx)
			if err != nil {
				return err
			}
			defer release()
			return fetchOnce(ctx, workload.NewSpiffeWorkloadAPIClient(conn))
		})
	}
	return p, nil
}

func fetchX509(ctx context.Context, o options) (*plan, error) {
	return eachCaller(ctx, o, o.workloadAPI, func(conn *grpc.ClientConn) func(context.Context) error {
		client := workload.NewSpiffeWorkloadAPIClient(conn)
		return func(ctx context.Context) error { return fetchOnce(ctx, client) }
	})
}

func fetchJWT(ctx context.Context, o options) (*plan, error) {
	return eachCaller(ctx, o, o.workloadAPI, func(conn *grpc.ClientConn) func(context.Context) error {
		client := workload.NewSpiffeWorkloadAPIClient(conn)
		return func(ctx context.Context) error {
			_, err := fetchToken(ctx, client)
			return err
		}
	})
}

func fetchToken(ctx context.Context, client workload.SpiffeWorkloadAPIClient) (string, error) {
	response, err := client.FetchJWTSVID(withHeader(ctx), &workload.JWTSVIDRequest{Audience: audience})
	if err != nil {
		return "", err
	}
	if len(response.GetSvids()) == 0 {
		return "", fmt.Errorf("no SVID in the response")
	}
	return response.GetSvids()[0].GetSvid(), nil
}

func validateJWT(ctx context.Context, o options) (*plan, error) {
	target := dial.Options{Address: o.workloadAPI, MaxMessageMB: 64}
	first, release, err := target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	token, err := fetchToken(ctx, workload.NewSpiffeWorkloadAPIClient(first))
	if err != nil {
		return nil, err
	}
	return eachCaller(ctx, o, o.workloadAPI, func(conn *grpc.ClientConn) func(context.Context) error {
		client := workload.NewSpiffeWorkloadAPIClient(conn)
		return func(ctx context.Context) error {
			_, err := client.ValidateJWTSVID(withHeader(ctx), &workload.ValidateJWTSVIDRequest{Audience: audience[0], Svid: token})
			return err
		}
	})
}
