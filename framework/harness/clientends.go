package harness

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"mesh-egress-conformance/framework/egress"
)

// leaving are the clients to end before the next cases: those that none of the cases needs which are still to come. Each proxy, and each log that the kubelet
// is asked to follow, takes inotify instances, of which the machine gives a cluster 128 (fs.inotify.max_user_instances):
// with those of all cases and the istiods that some need besides, proxies do not start any more. Clients that have
// endpoints stay, whose end every proxy would be told of. Where the next cases start no client, nobody needs the room, and all
// stay: the ends of eleven pods hold cases up that run meanwhile, by three seconds on two cores.
func (s *starter) leaving(next, toCome []egress.Case) []string {
	if !s.startMore(next) {
		return nil
	}
	return unneeded(s.clients, toCome)
}

// release lets clients end.
func (s *starter) release(names []string) {
	s.retire(names, s.ending, func(err error) { s.logf("a client that nobody needs any more: %v", err) })
}

// startMore says whether one of the cases needs a client that was not started yet.
func (s *starter) startMore(cases []egress.Case) bool {
	return slices.ContainsFunc(cases, func(c egress.Case) bool {
		return slices.ContainsFunc(c.Clients(), func(n string) bool { return !slices.Contains(laneClients, n) && !s.begun(n) })
	})
}

// ending takes a client out of those that run, and returns what ends it and the following of its log.
func (s *starter) ending(name string) (func(context.Context) error, error) {
	end, err := s.conn.pods.End(name)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		s.conn.logs.Stop(name)
		return end(ctx)
	}, nil
}

// unneeded are the clients that none of the cases needs and that may end.
func unneeded(clients []egress.Client, cases []egress.Case) []string {
	needed := slices.Concat(laneClients, []string{egress.ControlClient})
	for _, c := range cases {
		needed = append(needed, c.Clients()...)
	}
	var out []string
	for _, c := range clients {
		if !slices.Contains(needed, c.Name) && !c.Serves() {
			out = append(out, c.Name)
		}
	}
	return out
}

// replace ends the clients that others do not have in the same way, side by side. Nothing else may be starting.
func (s *starter) replace(ctx context.Context, clients []egress.Client) error {
	errs := make([]error, len(s.clients))
	var all sync.WaitGroup
	for i, old := range s.clients {
		if slices.ContainsFunc(clients, func(c egress.Client) bool { return reflect.DeepEqual(c, old) }) {
			continue
		}
		if started := s.forget(old.Name); started != nil {
			all.Go(func() { errs[i] = s.endNow(ctx, old, started.err == nil) })
		}
	}
	all.Wait()
	s.clients = clients
	return errors.Join(errs...)
}

// endNow ends a client, or removes what there is of one that did not start.
func (s *starter) endNow(ctx context.Context, c egress.Client, started bool) error {
	if !started {
		if err := s.conn.pods.Discard(ctx, c); err != nil {
			return fmt.Errorf("remove client %q, which did not start: %w", c.Name, err)
		}
		return nil
	}
	end, err := s.ending(c.Name)
	if err != nil {
		return err
	}
	return end(ctx)
}
