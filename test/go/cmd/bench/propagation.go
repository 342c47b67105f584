package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"countersign.dev/test/go/internal/dial"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
)

type propagationResult struct {
	Case       string  `json:"case"`
	Operations int     `json:"operations"`
	P50Ms      float64 `json:"p50Ms"`
	P99Ms      float64 `json:"p99Ms"`
	MaxMs      float64 `json:"maxMs"`
	// The same for the loss of an identity.
	RemovalP50Ms float64 `json:"removalP50Ms"`
	RemovalP99Ms float64 `json:"removalP99Ms"`
	RemovalMaxMs float64 `json:"removalMaxMs"`
}

// propagation creates and deletes an entry for this process over and over, and watches what reaches it.
func propagation(ctx context.Context, o options) (*propagationResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.operations == 0 {
		o.operations = 20
	}
	adminTarget := dial.Options{Address: o.admin, MaxMessageMB: 64}
	admin, releaseAdmin, err := adminTarget.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer releaseAdmin()
	agentTarget := dial.Options{Address: o.workloadAPI, MaxMessageMB: 64}
	agent, releaseAgent, err := agentTarget.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer releaseAgent()
	watched := &watch{client: workload.NewSpiffeWorkloadAPIClient(agent), held: make(chan map[string]bool, 100)}
	go watched.run(ctx)
	entries := entryv1.NewEntryClient(admin)
	var gained, lost []time.Duration
	for i := range o.operations {
		up, down, err := roundTrip(ctx, o, entries, watched, fmt.Sprintf("/bench/propagation/%d-%d", time.Now().UnixNano(), i))
		if err != nil {
			return nil, err
		}
		gained, lost = append(gained, up), append(lost, down)
	}
	r := &propagationResult{Case: o.name, Operations: o.operations}
	r.P50Ms, r.P99Ms, r.MaxMs = percentiles(gained)
	r.RemovalP50Ms, r.RemovalP99Ms, r.RemovalMaxMs = percentiles(lost)
	return r, nil
}

func roundTrip(ctx context.Context, o options, entries entryv1.EntryClient, w *watch, path string) (up, down time.Duration, err error) {
	id := o.trustDomain.IDString() + path
	created, err := entries.BatchCreateEntry(ctx, &entryv1.BatchCreateEntryRequest{
		Entries: []*types.Entry{newEntry(o, path, uint64(os.Getuid()))},
	})
	if err != nil {
		return 0, 0, err
	}
	if code := created.GetResults()[0].GetStatus(); code.GetCode() != 0 {
		return 0, 0, fmt.Errorf("create: %s", code.GetMessage())
	}
	began := time.Now()
	if err := w.wait(id, true); err != nil {
		return 0, 0, err
	}
	up = time.Since(began)
	_, err = entries.BatchDeleteEntry(ctx, &entryv1.BatchDeleteEntryRequest{Ids: []string{created.GetResults()[0].GetEntry().GetId()}})
	if err != nil {
		return 0, 0, err
	}
	began = time.Now()
	err = w.wait(id, false)
	return up, time.Since(began), err
}

// watch keeps a FetchX509SVID stream and passes on the IDs of each message. A workload that loses its last identity
// is told PERMISSION_DENIED, so it asks again, as SPIFFE's client libraries do.
type watch struct {
	client workload.SpiffeWorkloadAPIClient
	held   chan map[string]bool
}

func (w *watch) run(ctx context.Context) {
	for ctx.Err() == nil {
		stream, err := w.client.FetchX509SVID(withHeader(ctx), &workload.X509SVIDRequest{})
		for err == nil {
			var response *workload.X509SVIDResponse
			if response, err = stream.Recv(); err != nil {
				break
			}
			ids := map[string]bool{}
			for _, svid := range response.GetSvids() {
				ids[svid.GetSpiffeId()] = true
			}
			w.held <- ids
		}
		if ctx.Err() == nil {
			w.held <- map[string]bool{}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (w *watch) wait(id string, present bool) error {
	timeout := time.After(time.Minute)
	for {
		select {
		case ids := <-w.held:
			if ids[id] == present {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("after a minute, %s present=%v has not arrived", id, present)
		}
	}
}
