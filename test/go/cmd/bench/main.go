// Command bench measures a SPIFFE control plane from outside, the same way whoever made it, and prints one JSON object:
//
//	bench -case mint-x509 -admin unix:/run/admin.sock -callers 16 -duration 10s -warm-up 2s
//
// Cases over the server's admin socket (-admin):
//
//	mint-x509, mint-jwt    one SVID for each call
//	create-entries         BatchCreateEntry, -batch entries in each (100); -operations N stops after N calls
//
// Cases over the Workload API (-workload-api), as this process's own user; some entry must give it an identity:
//
//	fetch-x509-new         FetchX509SVID on a new connection each time
//	fetch-x509             FetchX509SVID on a connection that is kept, one for each caller
//	fetch-jwt, validate-jwt
//
// Cases that need more:
//
//	batch-x509             BatchNewX509SVID as an agent over mTLS (-admin and -server; attests with a join token),
//	                       -batch CSRs in each (50), drawn from 1,000 distinct ones
//	propagation            from BatchCreateEntry's answer to the SVID at a watching workload, and from BatchDeleteEntry's
//	                       to its loss (-admin, -workload-api, -parent: an ID of the workload's agent), -operations times
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

type options struct {
	name        string
	admin       string
	server      string
	workloadAPI string
	parent      string
	trustDomain spiffeid.TrustDomain
	batch       int
	operations  int
	callers     int
	shared      bool
	duration    time.Duration
	warmUp      time.Duration
}

// plan is what a case measures: one function for each caller, and how many units (SVIDs, entries) a call makes.
type plan struct {
	calls []func(context.Context) error
	units int
	close func()
}

var cases = map[string]func(context.Context, options) (*plan, error){
	"mint-x509":      mintX509,
	"mint-jwt":       mintJWT,
	"create-entries": createEntries,
	"fetch-x509-new": fetchX509New,
	"fetch-x509":     fetchX509,
	"fetch-jwt":      fetchJWT,
	"validate-jwt":   validateJWT,
	"batch-x509":     batchX509,
}

func main() {
	var o options
	var trustDomain string
	flag.StringVar(&o.name, "case", "", "what to measure")
	flag.StringVar(&o.admin, "admin", "", "the server's admin socket, unix:/path")
	flag.StringVar(&o.server, "server", "", "the server's TLS address, host:port")
	flag.StringVar(&o.workloadAPI, "workload-api", "", "the agent's socket, unix:/path")
	flag.StringVar(&o.parent, "parent", "", "parent ID of entries made for this process")
	flag.StringVar(&trustDomain, "trust-domain", "example.org", "")
	flag.IntVar(&o.batch, "batch", 0, "items in a batch; default is the case's own")
	flag.IntVar(&o.operations, "operations", 0, "stop after this many calls instead of after the duration")
	flag.IntVar(&o.callers, "callers", 1, "calls under way at once")
	flag.BoolVar(&o.shared, "shared", false, "one connection for all callers instead of one for each")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "time measured")
	flag.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "time before that, not measured")
	flag.Parse()

	result, err := run(context.Background(), o, trustDomain)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench %s: %v\n", o.name, err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func run(ctx context.Context, o options, trustDomain string) (any, error) {
	var err error
	if o.trustDomain, err = spiffeid.TrustDomainFromString(trustDomain); err != nil {
		return nil, err
	}
	if o.name == "propagation" {
		return propagation(ctx, o)
	}
	prepare, found := cases[o.name]
	if !found {
		return nil, fmt.Errorf("no such case")
	}
	prepared, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer prepared.close()
	return measure(ctx, o, prepared), nil
}
