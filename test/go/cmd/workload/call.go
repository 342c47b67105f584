package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// call dials ten times a second with one source, as a service does, until it is ended. It prints {"calls", "own", "peer"}
// when the authority behind either certificate becomes another, once a second otherwise, and {"failed"} for each call that failed.
func call(ctx context.Context, o options, address string) error {
	source, authorizer, err := o.source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	dialer := &tls.Dialer{Config: tlsconfig.MTLSClientConfig(source, source, authorizer)}
	var own, peer string
	for calls := 1; ctx.Err() == nil; calls++ {
		ownNow, peerNow, err := callOnce(ctx, dialer, source, address)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			print(map[string]any{"failed": err.Error(), "calls": calls})
		case ownNow != own || peerNow != peer || calls%10 == 0:
			own, peer = ownNow, peerNow
			print(map[string]any{"calls": calls, "own": own, "peer": peer})
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// callOnce gives the key IDs of the authorities behind the caller's and the peer's certificates.
func callOnce(ctx context.Context, dialer *tls.Dialer, source *workloadapi.X509Source, address string) (own, peer string, err error) {
	svid, err := source.GetX509SVID()
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	plain, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", "", err
	}
	conn := plain.(*tls.Conn)
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return "", "", err
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		return "", "", err
	}
	chain := conn.ConnectionState().PeerCertificates
	return hex.EncodeToString(svid.Certificates[0].AuthorityKeyId), hex.EncodeToString(chain[0].AuthorityKeyId), nil
}
