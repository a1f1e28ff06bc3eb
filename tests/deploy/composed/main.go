// Loads a compose project as Docker does and prints it as JSON: `composed FILE [PROFILE…]`, `*` for every profile.
//
// What is wrong with the project (schema, interpolation, a name that nothing defines) is said on standard error.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: composed FILE [PROFILE…]"))
	}
	options, err := cli.NewProjectOptions(
		os.Args[1:2], cli.WithOsEnv, cli.WithDotEnv, cli.WithProfiles(os.Args[2:]), cli.WithConsistency(true),
	)
	if err != nil {
		fail(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		fail(err)
	}
	document, err := project.MarshalJSON()
	if err != nil {
		fail(err)
	}
	fmt.Println(string(document))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
