package tcp

import (
	. "mesh-egress-conformance/framework/egress"
)

const tcpTask = `Istio task "Control Egress TCP Traffic" (v0.8)`

var articleCount = Case{
	Name:     "tcp-article-count",
	Area:     "tcp",
	Claim:    "the document's pipeline for the number of Wikipedia articles works once the ranges are open",
	Source:   tcpTask,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1.yaml"},
	Probes: []Probe{
		Shell("client", "en.wikipedia.org", `curl -s https://en.wikipedia.org/wiki/Main_Page | grep articlecount | grep 'Special:Statistics'`).
			Prints("articles in English").Want(Blocked, OK, Blocked),
	},
}

var cidrV1 = Case{
	Name:     "tcp-cidr-v1",
	Area:     "tcp",
	Claim:    "a TCP ServiceEntry opens every address range that it lists, the first and the last",
	Source:   tcpTask,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1.yaml"},
	Probes:   cidrProbes,
}

var cidrV1alpha3 = Case{
	Name:     "tcp-cidr-v1alpha3",
	Area:     "tcp",
	Claim:    "the ServiceEntry as the document has it, in v1alpha3, still opens its address ranges",
	Source:   tcpTask,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1alpha3.yaml"},
	Probes:   cidrProbes,
}

var cidrProbes = []Probe{
	Shell("client", "www.wikipedia.org", `curl -o /dev/null -s -w "%{http_code}\n" https://www.wikipedia.org`).
		Prints(`^200\n$`).Want(Blocked, OK, Blocked),
	GET("client", "https://www.wikipedia.org/").In("91.198.174.192/27").Want(Blocked, OK, Blocked),
	GET("client", "https://de.wikipedia.org/").In("208.80.154.224/27").Want(Blocked, OK, Blocked),
}

var otherPort = Case{
	Name:     "tcp-other-port",
	Area:     "tcp",
	Claim:    "a TCP ServiceEntry opens no other port of its address ranges",
	Source:   tcpTask,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1.yaml"},
	Probes: []Probe{
		GET("client", "https://www.wikipedia.org/").Want(Blocked, OK, Blocked),
		GET("client", "https://www.wikipedia.org:8443/").Want(Blocked, Blocked, Blocked),
	},
}

var outsideRange = Case{
	Name:     "tcp-outside-range",
	Area:     "tcp",
	Claim:    "a TCP ServiceEntry opens no address outside its ranges",
	Source:   tcpTask,
	Labels:   []string{"source"},
	Needs:    Needs{Features: []Feature{Hermetic}},
	Fixtures: []string{"tcp/wikipedia-v1.yaml"},
	Probes: []Probe{
		GET("client", "https://www.wikipedia.org/").Want(Blocked, OK, Blocked),
		GET("client", "https://www.google.com/").Want(Blocked, Blocked, Blocked),
		GET("client", "https://evil.example/").Want(Blocked, Blocked, Blocked),
	},
}
