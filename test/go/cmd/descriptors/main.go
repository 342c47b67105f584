// Command descriptors writes the published descriptors as one binary FileDescriptorSet to standard output: the SPIRE
// APIs, the SPIFFE Workload API, gRPC health and reflection, google.rpc, and the parts of Envoy's API that secret
// discovery, authorization and access logs use, with all they import.
package main

import (
	"log"
	"os"

	_ "countersign.dev/test/go/internal/contract"
	_ "github.com/container-storage-interface/spec/lib/go/csi"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(collect())
	if err == nil {
		_, err = os.Stdout.Write(encoded)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// collect returns every registered file after the files it imports.
func collect() *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		add(file)
		return true
	})
	return set
}
