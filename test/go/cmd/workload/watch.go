package main

import (
	"context"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/exp/bundle/witbundle"
	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/status"
)

// watch prints every update until it is told to stop. An error is printed too, and go-spiffe tries again.
func watch(ctx context.Context, o options, what string) error {
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	switch what {
	case "x509":
		return client.WatchX509Context(ctx, watcher{})
	case "bundles":
		return client.WatchX509Bundles(ctx, watcher{})
	case "jwtbundles":
		return client.WatchJWTBundles(ctx, watcher{})
	case "wit":
		return client.WatchWITSVIDs(ctx, watcher{}, o.subject)
	case "witbundles":
		return client.WatchWITBundles(ctx, watcher{})
	}
	return fmt.Errorf("cannot watch %q", what)
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(update *workloadapi.X509Context) { print(x509Line(update)) }
func (watcher) OnX509ContextWatchError(err error)                   { printError(err) }
func (watcher) OnX509BundlesUpdate(set *x509bundle.Set) {
	print(map[string]any{"bundles": x509Bundles(set)})
}
func (watcher) OnX509BundlesWatchError(err error) { printError(err) }
func (watcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	print(map[string]any{"bundles": jwtBundles(set)})
}
func (watcher) OnJWTBundlesWatchError(err error)       { printError(err) }
func (watcher) OnWITSVIDsUpdate(svids []*witsvid.SVID) { print(witLine(svids, nil)) }
func (watcher) OnWITSVIDsWatchError(err error)         { printError(err) }
func (watcher) OnWITBundlesUpdate(set *witbundle.Set) {
	print(map[string]any{"bundles": witBundles(set)})
}
func (watcher) OnWITBundlesWatchError(err error) { printError(err) }
func printError(err error) {
	print(map[string]any{"error": err.Error(), "code": status.Code(err).String()})
}
