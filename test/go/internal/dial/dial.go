// Package dial turns the command line's idea of a server into a gRPC connection.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Options say where the server is and who the client is. Without any TLS option the connection is plain text.
type Options struct {
	Address      string
	SVIDFile     string
	KeyFile      string
	BundleFile   string
	TrustDomain  string
	WorkloadAPI  string
	SkipVerify   bool
	MaxTLS12     bool
	MaxMessageMB int
}

// Register adds the options to the flags.
func (o *Options) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.Address, "addr", "", "server: unix:/path or host:port")
	flags.StringVar(&o.SVIDFile, "svid", "", "client certificate chain, PEM")
	flags.StringVar(&o.KeyFile, "key", "", "client private key, PEM")
	flags.StringVar(&o.BundleFile, "bundle", "", "authorities that the server's certificate is verified with, PEM")
	flags.StringVar(&o.TrustDomain, "trust-domain", "example.org", "trust domain of the server, with -bundle")
	flags.StringVar(&o.WorkloadAPI, "workload-api", "", "Workload API address to take client SVID and bundle from instead of files")
	flags.BoolVar(&o.SkipVerify, "skip-verify", false, "TLS, but accept any server certificate")
	flags.BoolVar(&o.MaxTLS12, "tls12", false, "offer TLS 1.2 only")
	flags.IntVar(&o.MaxMessageMB, "max-message-mb", 64, "largest message to receive")
}

// Connect returns a connection and what closes it. The connection is made at the first call.
func (o *Options) Connect(ctx context.Context, extra ...grpc.DialOption) (*grpc.ClientConn, func(), error) {
	transport, release, err := o.credentials(ctx)
	if err != nil {
		return nil, nil, err
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(o.MaxMessageMB << 20)),
		grpc.WithAuthority("localhost"),
	}, extra...)
	conn, err := grpc.NewClient(Target(o.Address), options...)
	if err != nil {
		release()
		return nil, nil, err
	}
	return conn, func() { _ = conn.Close(); release() }, nil
}

// Target is the address as gRPC wants it; a TCP address skips the resolver's proxy and service configuration look-ups.
func Target(address string) string {
	if strings.HasPrefix(address, "unix:") {
		return "unix:" + strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), "//")
	}
	return "passthrough:///" + strings.TrimPrefix(address, "tcp://")
}

func (o *Options) credentials(ctx context.Context) (credentials.TransportCredentials, func(), error) {
	config, release, err := o.tlsConfig(ctx)
	if err != nil {
		return nil, nil, err
	}
	if config == nil {
		return insecure.NewCredentials(), release, nil
	}
	if o.MaxTLS12 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	}
	// Resumption is what a server must not trust, so the client offers it.
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return credentials.NewTLS(config), release, nil
}

func (o *Options) tlsConfig(ctx context.Context) (*tls.Config, func(), error) {
	nothing := func() {}
	if o.WorkloadAPI != "" {
		source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(o.WorkloadAPI)))
		if err != nil {
			return nil, nil, err
		}
		return tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny()), func() { _ = source.Close() }, nil
	}
	if o.BundleFile == "" && !o.SkipVerify {
		if o.SVIDFile != "" {
			return nil, nil, errors.New("-svid needs -bundle or -skip-verify")
		}
		return nil, nothing, nil
	}
	config, err := o.serverVerification()
	if err != nil || o.SVIDFile == "" {
		return config, nothing, err
	}
	// Sent as it is, even when it has expired or has no SPIFFE ID: the server has to refuse it, not this client.
	certificate, err := tls.LoadX509KeyPair(o.SVIDFile, o.KeyFile)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	return config, nothing, err
}

func (o *Options) serverVerification() (*tls.Config, error) {
	if o.SkipVerify {
		return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, nil
	}
	trustDomain, err := spiffeid.TrustDomainFromString(o.TrustDomain)
	if err != nil {
		return nil, err
	}
	bundle, err := x509bundle.Load(trustDomain, o.BundleFile)
	if err != nil {
		return nil, err
	}
	return tlsconfig.TLSClientConfig(bundle, tlsconfig.AuthorizeMemberOf(trustDomain)), nil
}

// MTLS is a connection with an SVID and a bundle held in memory.
func MTLS(address string, svid *x509svid.SVID, bundle *x509bundle.Bundle) (*grpc.ClientConn, error) {
	config := tlsconfig.MTLSClientConfig(svid, bundle, tlsconfig.AuthorizeMemberOf(bundle.TrustDomain()))
	return grpc.NewClient(Target(address), grpc.WithTransportCredentials(credentials.NewTLS(config)))
}
