package main

import (
	"context"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	Case       string  `json:"case"`
	Callers    int     `json:"callers"`
	Seconds    float64 `json:"seconds"`
	Operations int     `json:"operations"`
	// Calls a second, and what they made a second.
	Rate      float64 `json:"rate"`
	UnitsRate float64 `json:"unitsRate"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
	MaxMs     float64 `json:"maxMs"`
	Errors    int     `json:"errors"`
	// Text of one of the errors.
	Error string `json:"error,omitempty"`
}

// sample is what one caller saw.
type sample struct {
	latencies []time.Duration
	errors    int
	lastError error
}

func measure(ctx context.Context, o options, p *plan) result {
	if o.operations == 0 {
		load(ctx, p, limits{duration: o.warmUp})
	}
	began := time.Now()
	samples := load(ctx, p, limits{duration: o.duration, operations: int64(o.operations)})
	elapsed := time.Since(began)

	all := sample{}
	for _, s := range samples {
		all.latencies = append(all.latencies, s.latencies...)
		all.errors += s.errors
		if s.lastError != nil {
			all.lastError = s.lastError
		}
	}
	r := result{Case: o.name, Callers: o.callers, Seconds: elapsed.Seconds(), Operations: len(all.latencies), Errors: all.errors}
	r.Rate = float64(r.Operations) / r.Seconds
	r.UnitsRate = r.Rate * float64(p.units)
	r.P50Ms, r.P99Ms, r.MaxMs = percentiles(all.latencies)
	if all.lastError != nil {
		r.Error = all.lastError.Error()
	}
	return r
}

type limits struct {
	duration   time.Duration
	operations int64
}

func load(ctx context.Context, p *plan, l limits) []sample {
	samples := make([]sample, len(p.calls))
	deadline := time.Now().Add(l.duration)
	var begun atomic.Int64
	more := func() bool {
		if l.operations > 0 {
			return begun.Add(1) <= l.operations
		}
		return time.Now().Before(deadline)
	}
	var callers sync.WaitGroup
	for i, call := range p.calls {
		callers.Go(func() {
			for more() {
				samples[i].record(ctx, call)
			}
		})
	}
	callers.Wait()
	return samples
}

func (s *sample) record(ctx context.Context, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := call(ctx); err != nil {
		s.errors++
		s.lastError = err
		// A server that refuses at once must not turn this into a busy loop.
		time.Sleep(time.Millisecond)
		return
	}
	s.latencies = append(s.latencies, time.Since(began))
}

// percentiles are the median, the 99th percentile and the maximum in milliseconds.
func percentiles(latencies []time.Duration) (p50, p99, highest float64) {
	if len(latencies) == 0 {
		return 0, 0, 0
	}
	sort.Slice(latencies, func(i, j int) bool { return latencies[i] < latencies[j] })
	nearestRank := func(percent int) float64 {
		return float64(latencies[(percent*len(latencies)+99)/100-1].Microseconds()) / 1000
	}
	return nearestRank(50), nearestRank(99), nearestRank(100)
}
