// Command httpload asks one URL over kept HTTP/1.1 connections, over mTLS where a certificate is given, and writes how
// often and how fast it was answered, by status, as JSON.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

type headers []string

func (h *headers) String() string { return strings.Join(*h, ", ") }

func (h *headers) Set(value string) error {
	*h = append(*h, value)
	return nil
}

type report struct {
	Seconds  float64     `json:"seconds"`
	Requests int         `json:"requests"`
	Rate     float64     `json:"rate"`
	P50Ms    float64     `json:"p50Ms"`
	P99Ms    float64     `json:"p99Ms"`
	Statuses map[int]int `json:"statuses"`
	Errors   int         `json:"errors"`
}

type sample struct {
	latencies []time.Duration
	statuses  map[int]int
	errors    int
}

func main() {
	url := flag.String("url", "", "what to ask")
	callers := flag.Int("callers", 16, "how many ask at once")
	warmUp := flag.Duration("warm-up", time.Second, "time before anything counts")
	duration := flag.Duration("duration", 3*time.Second, "time that counts")
	cert := flag.String("cert", "", "file of the client's certificate chain")
	key := flag.String("key", "", "file of the client's key")
	socket := flag.String("unix", "", "unix socket to connect to, whatever the URL says")
	body := flag.String("body", "", "what to POST; a GET unless given")
	var extra headers
	flag.Var(&extra, "header", "name: value, again for more")
	flag.Parse()

	transport := &http.Transport{MaxIdleConnsPerHost: *callers, TLSClientConfig: tlsConfig(*cert, *key)}
	if *socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", *socket)
		}
	}
	q := question{&http.Client{Transport: transport}, *url, *body, extra}
	load(q, *callers, *warmUp)
	began := time.Now()
	samples := load(q, *callers, *duration)
	if err := json.NewEncoder(os.Stdout).Encode(summary(samples, time.Since(began))); err != nil {
		log.Fatal(err)
	}
}

// tlsConfig does not verify the server: what is measured is on this machine.
func tlsConfig(cert, key string) *tls.Config {
	config := &tls.Config{InsecureSkipVerify: true}
	if cert == "" {
		return config
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		log.Fatal(err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config
}

// question is what is asked, again and again.
type question struct {
	client *http.Client
	url    string
	body   string
	extra  headers
}

func load(q question, callers int, duration time.Duration) []sample {
	samples := make([]sample, callers)
	deadline := time.Now().Add(duration)
	var wait sync.WaitGroup
	for i := range samples {
		wait.Go(func() {
			samples[i].statuses = map[int]int{}
			for time.Now().Before(deadline) {
				ask(q, &samples[i])
			}
		})
	}
	wait.Wait()
	return samples
}

func ask(q question, into *sample) {
	began := time.Now()
	method, body := http.MethodGet, io.Reader(nil)
	if q.body != "" {
		method, body = http.MethodPost, strings.NewReader(q.body)
	}
	request, err := http.NewRequest(method, q.url, body)
	if err != nil {
		log.Fatal(err)
	}
	for _, header := range q.extra {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Add(name, strings.TrimSpace(value))
	}
	response, err := q.client.Do(request)
	if err != nil {
		into.errors++
		return
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	into.latencies = append(into.latencies, time.Since(began))
	into.statuses[response.StatusCode]++
}

func summary(samples []sample, elapsed time.Duration) report {
	r := report{Seconds: elapsed.Seconds(), Statuses: map[int]int{}}
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s.latencies...)
		r.Errors += s.errors
		for status, count := range s.statuses {
			r.Statuses[status] += count
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	r.Requests = len(all)
	r.Rate = float64(len(all)) / r.Seconds
	r.P50Ms, r.P99Ms = at(all, 0.5), at(all, 0.99)
	return r
}

func at(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(float64(len(sorted)-1)*share)]) / float64(time.Millisecond)
}
