package main

import (
	"context"
	"fmt"
	"os"

	"mesh-egress-conformance/fixtures"
	"mesh-egress-conformance/framework/harness"
	"mesh-egress-conformance/framework/provider"
	"mesh-egress-conformance/suites"
	"sigs.k8s.io/yaml"
)

func main() {
	provider.ChildMain()
	ctx := context.Background()
	if err := suites.Check(suites.Cases(), suites.Clients()); err != nil {
		fmt.Println(err)
		return
	}
	o := harness.Options{Provider: "embedded", Name: "a", Clients: suites.Clients(), Fixtures: fixtures.FS, Log: os.Stdout}
	if len(os.Args) > 1 {
		o.Sabotage = harness.Sabotage(os.Args[1])
	}
	s, err := harness.Open(ctx, o)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.Prepare(ctx, suites.Cases())
	for _, c := range suites.Cases() {
		r := s.RunCase(ctx, c)
		fmt.Println(r.Verdict, c.Name, r.Took, r.Why)
		for _, p := range r.Phases {
			fmt.Println("   ", p.Phase, p.Took, p.Settle, p.Acknowledged, p.Notes)
			for _, x := range p.Probes {
				fmt.Println("      ", x.Probe, "|", x.Want, x.Got, x.Verdict, x.Rounds, x.Why, "|", x.Evidence)
			}
		}
		b, _ := yaml.Marshal(r)
		os.WriteFile("/tmp/w/"+c.Name+".yaml", b, 0o644)
	}
	fmt.Println(s.Timings())
	fmt.Println(s.Close(ctx))
}
