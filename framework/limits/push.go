package limits

import "time"

// Patience is how long to wait for something before concluding that it does not come. It is over when the time has
// passed and istiod has answered often enough besides: on a busy machine the answers are late for the same reason as
// what is waited for.
type Patience struct {
	Time    time.Duration
	Answers int
}

// Over says whether the patience has run out since a moment, after which istiod has answered so often.
func (p Patience) Over(since time.Time, answers int) bool {
	return time.Since(since) > p.Time && answers > p.Answers
}

// debounce is how long istiod waits for more changes before it begins to compute a push, unless it is told otherwise
// (PILOT_DEBOUNCE_AFTER). It never waits shorter.
const debounce = 100 * time.Millisecond

// Push bounds the way of a change to the proxies. The timings of pushes are multiples of istiod's debounce, found by
// measurement at 100 ms.
type Push struct {
	// Debounce is istiod's own setting: it begins no push sooner after a change.
	Debounce time.Duration
	// Gathering is how long a batch of changes waits for others to join it. Changes within one debounce are one push.
	Gathering time.Duration

	Ask    Ask
	Change Change
	Sent   Sent
	Rest   Rest
}

// Ask bounds questions to istiod.
type Ask struct {
	// Pause is between two equal questions. Each costs istiod a walk over all that it holds, and goes through
	// the API server and the kubelet: with 15 ms a run took 5 % more processor time and was no faster.
	Pause time.Duration
	// Relist is the shortest time between two looks for further replicas of istiod.
	Relist time.Duration
	// Answer bounds one question, and Silence the repetitions of one that gets no answer.
	Answer, Silence time.Duration
}

// Change bounds what istiod makes of a change before it computes a push.
type Change struct {
	// Seen bounds the wait until istiod has seen it, which it surely will.
	Seen Patience
	// Addresses bounds the wait for allocated addresses: an istiod may have been told to allocate none.
	Addresses Patience
	// EndpointEcho is how long after a change of endpoints no push of it is expected any more, on a busy machine too.
	EndpointEcho time.Duration
}

// Sent bounds the push of a change, from when istiod has seen that to the proxies' acknowledgements.
type Sent struct {
	// Soonest is how long after istiod has heard of a change it makes no sense to look for the push.
	Soonest time.Duration
	// Unheard is how long after a change was seen its push is expected before istiod's metrics are asked whether it
	// concerned nobody. They cost istiod more than its other answers.
	Unheard time.Duration
	// Unconcerned is how long after the first acknowledgement, or after a push was seen to be computed, a proxy may
	// still be sent the same push: 3 in 100 take more than one debounce.
	Unconcerned Patience
	// Next is how long after a push the next one begins at the latest, if changes are waiting.
	Next Patience
	// Acknowledged bounds the wait for a push. A change that concerns no proxy causes none, which istiod's metrics
	// tell; where they do not, equal results in a row decide alone.
	Acknowledged Patience
	// Answered bounds the wait for proxies that were sent the push and have neither acknowledged nor refused it: they are at work on it,
	// and may be for long where it is large or the machine busy.
	Answered Patience
}

// Rest bounds the waits until istiod pushes nothing.
type Rest struct {
	// Quiet is how long after a push no other one is expected, if no change is made.
	Quiet Patience
	// Computed bounds the wait for a push of which nobody knows whether it comes at all.
	Computed Patience
	// Becomes bounds the wait until it is quiet. Where pods come and go without an end, nothing about the
	// mesh configuration can be proven.
	Becomes Patience
}

// pushLimits derives the timings of pushes from istiod's debounce.
func pushLimits(debounce time.Duration) Push {
	pause := debounce * 3 / 10
	// within is the patience for what comes within a time when istiod answers at half its usual pace at least.
	within := func(d time.Duration) Patience { return Patience{d, int(d / (2 * pause))} }
	return Push{
		Debounce: debounce, Gathering: debounce * 2 / 5,
		Ask:    Ask{Pause: pause, Relist: time.Second, Answer: 5 * time.Second, Silence: 30 * time.Second},
		Change: Change{Seen: within(30 * time.Second), Addresses: Patience{3 * time.Second, 50}, EndpointEcho: 10 * time.Second},
		Sent:   Sent{Soonest: debounce * 3 / 4, Unheard: debounce * 3 / 2, Unconcerned: within(3 * debounce), Next: within(2 * debounce), Acknowledged: within(15 * debounce), Answered: within(30 * time.Second)},
		Rest:   Rest{Quiet: within(debounce * 9 / 5), Computed: within(4 * debounce), Becomes: within(60 * time.Second)},
	}
}
