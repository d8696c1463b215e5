package engine

import (
	"testing"
	"testing/synctest"
)

// bubble is synctest.Test with ids of its own: the time in it is another one, by which ports are handed out, and channels of one
// bubble are of no use in another.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		swapped := ids
		ids = newIDSource()
		defer func() { ids = swapped }()
		f(t)
	})
}
