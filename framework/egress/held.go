package egress

import "slices"

// What ClientWitness.Held says.
const (
	heldOpen = "open"
	heldCut  = "cut"
)

// held classifies an attempt that was answered and whose connection was then held: its first exchange as any attempt's,
// and what became of the connection by the client's word. A line of the sidecar is about the whole connection, so its
// flags may be about the end of it.
func held(o Observation) (Outcome, error) {
	first := o
	first.Client.ExitCode, first.Client.Held = 0, ""
	first.Mesh = slices.Clone(o.Mesh)
	for i := range first.Mesh {
		first.Mesh[i].ResponseFlags = ""
	}
	first.Hops = slices.Clone(o.Hops)
	for i, h := range first.Hops {
		if h.Line != nil {
			line := *h.Line
			line.ResponseFlags = ""
			first.Hops[i].Line = &line
		}
	}
	out, err := Classify(first)
	switch {
	case err != nil:
		return 0, err
	case o.Client.Held == heldCut && out == Direct:
		return 0, disagree("the connection was cut, and no sidecar had it")
	case o.Client.Held == heldCut && Reached.Has(out):
		return Cut, nil
	case o.Client.Held == heldOpen && out == OK:
		return Open, nil
	}
	return out, nil
}
