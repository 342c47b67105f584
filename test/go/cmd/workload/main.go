// Command workload is what a service built on go-spiffe does. Every line it prints is one JSON object.
//
//	workload -addr unix:/run/api.sock fetch x509|jwt|wit|bundles|jwtbundles|witbundles
//	workload -addr unix:/run/api.sock -token TOKEN -audience AUD validate
//	workload -addr unix:/run/api.sock watch x509|bundles|jwtbundles|wit|witbundles
//	workload -addr unix:/run/api.sock -authorize spiffe://example.org/client serve 127.0.0.1:0
//	workload -addr unix:/run/api.sock -authorize spiffe://example.org/server dial 127.0.0.1:4433
//	workload -addr unix:/run/api.sock -authorize spiffe://example.org/server call 127.0.0.1:4433
//
// It exits with 1 after {"error", "code"} when the agent or the peer refuses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

type options struct {
	address   string
	authorize string
	audience  string
	subject   string
	token     string
	timeout   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.address, "addr", "", "Workload API address; default is SPIFFE_ENDPOINT_SOCKET")
	flag.StringVar(&o.authorize, "authorize", "any", "peer to accept: any, a SPIFFE ID, or td:NAME for a trust domain")
	flag.StringVar(&o.audience, "audience", "test", "audiences of a JWT-SVID, separated by commas")
	flag.StringVar(&o.subject, "subject", "", "SPIFFE ID to ask for; default is all")
	flag.StringVar(&o.token, "token", "", "JWT-SVID to validate")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Second, "deadline of fetch, validate and dial, and for the first SVID")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, flag.Arg(0), flag.Arg(1)); err != nil && !errors.Is(err, context.Canceled) {
		print(map[string]any{"error": err.Error(), "code": status.Code(err).String()})
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, command, argument string) error {
	switch command {
	case "fetch":
		return fetch(ctx, o, argument)
	case "validate":
		return validate(ctx, o)
	case "watch":
		return watch(ctx, o, argument)
	case "serve":
		return serve(ctx, o, argument)
	case "dial":
		return dial(ctx, o, argument)
	case "call":
		return call(ctx, o, argument)
	}
	return fmt.Errorf("unknown command %q: use fetch, validate, watch, serve, dial or call", command)
}

func (o options) client(ctx context.Context) (*workloadapi.Client, error) {
	return workloadapi.New(ctx, o.clientOptions()...)
}

func (o options) clientOptions() []workloadapi.ClientOption {
	if o.address == "" {
		return nil
	}
	return []workloadapi.ClientOption{workloadapi.WithAddr(o.address)}
}

func (o options) audiences() []string { return strings.Split(o.audience, ",") }

func (o options) authorizer() (tlsconfig.Authorizer, error) {
	if o.authorize == "any" {
		return tlsconfig.AuthorizeAny(), nil
	}
	if name, found := strings.CutPrefix(o.authorize, "td:"); found {
		trustDomain, err := spiffeid.TrustDomainFromString(name)
		return tlsconfig.AuthorizeMemberOf(trustDomain), err
	}
	id, err := spiffeid.FromString(o.authorize)
	return tlsconfig.AuthorizeID(id), err
}

func print(line map[string]any) {
	line["at"] = time.Now().UTC().Format(time.RFC3339Nano)
	_ = json.NewEncoder(os.Stdout).Encode(line)
}
