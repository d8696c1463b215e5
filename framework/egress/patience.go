package egress

import (
	"os"
	"strconv"
	"time"
)

// SlowEnv names the environment variable that stretches every time limit, for machines that are much
// slower than usual, such as an emulated one: EGRESS_SLOW=20 waits twenty times as long before
// giving up. Nothing becomes slower by it where things are fast.
const SlowEnv = "EGRESS_SLOW"

// Slowness is the factor of SlowEnv; 1 unless set to something larger.
func Slowness() int {
	n, err := strconv.Atoi(os.Getenv(SlowEnv))
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// Patience stretches a time limit by Slowness.
func Patience(d time.Duration) time.Duration { return d * time.Duration(Slowness()) }
