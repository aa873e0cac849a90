// What kstatus, the library that Flux and Helm 4 judge objects with, says of objects: a JSON array of them on stdin, a JSON array
// of {"status", "message"} in the same order on stdout.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func judge() error {
	var objects []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("stdin is no JSON array of objects: %w", err)
	}
	verdicts := make([]verdict, 0, len(objects))
	for index, object := range objects {
		// Not a plain map: whole numbers must stay whole.
		parsed := &unstructured.Unstructured{}
		if err := parsed.UnmarshalJSON(object); err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		result, err := status.Compute(parsed)
		if err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		verdicts = append(verdicts, verdict{result.Status.String(), result.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func main() {
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}
