// Command template-oracle renders identity templates with Go's own text/template over the real Kubernetes types.
//
// It reads JSON lines. A line with "data" sets the trust domain, the cluster, the pod and the node for the lines after it; a
// line with "template" is rendered and answered by one line.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"text/template"

	corev1 "k8s.io/api/core/v1"

	"countersign.dev/test/go/internal/identitytemplate"
)

type source struct {
	TrustDomain   string       `json:"trustDomain"`
	ClusterName   string       `json:"clusterName"`
	ClusterDomain string       `json:"clusterDomain"`
	Pod           *corev1.Pod  `json:"pod"`
	Node          *corev1.Node `json:"node"`
}

type request struct {
	Data     *source `json:"data"`
	Template *string `json:"template"`
}

type answer struct {
	// Output is base64 on the line: what a template prints need not be UTF-8.
	Output []byte `json:"output"`
	// Stage is "parse" or "execute" when there is an error, and empty otherwise.
	Stage string `json:"stage,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	var data *identitytemplate.Data
	for lines.Scan() {
		var line request
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			log.Fatalf("line is no request: %v", err)
		}
		if line.Data != nil {
			data = dataOf(line.Data)
		}
		if line.Template != nil {
			if err := encoder.Encode(render(*line.Template, data)); err != nil {
				log.Fatal(err)
			}
			if err := out.Flush(); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

func dataOf(from *source) *identitytemplate.Data {
	data := &identitytemplate.Data{
		TrustDomain:   from.TrustDomain,
		ClusterName:   from.ClusterName,
		ClusterDomain: from.ClusterDomain,
	}
	if from.Pod != nil {
		data.PodMeta, data.PodSpec = &from.Pod.ObjectMeta, &from.Pod.Spec
	}
	if from.Node != nil {
		data.NodeMeta, data.NodeSpec = &from.Node.ObjectMeta, &from.Node.Spec
	}
	return data
}

func render(text string, data *identitytemplate.Data) (result answer) {
	defer func() {
		if panicked := recover(); panicked != nil {
			result = answer{Stage: "execute", Error: fmt.Sprint("panic: ", panicked)}
		}
	}()
	parsed, err := template.New("identity").Parse(text)
	if err != nil {
		return answer{Stage: "parse", Error: err.Error()}
	}
	var rendered bytes.Buffer
	if err := parsed.Execute(&rendered, data); err != nil {
		return answer{Stage: "execute", Error: err.Error()}
	}
	return answer{Output: rendered.Bytes()}
}
