#!/bin/sh
# Plain Docker: the cases in clusters of containers, two at a time, one report. It needs Go and the docker command.
set -u
make build || exit
for shard in 1 2; do
  bin/egressctl run --provider kind --name "ci-$shard" --shard "$shard/2" --out "shard-$shard" --timeout 60m &
done
wait # each shard's own status is part of the merged report's
bin/egressctl merge shard-1/report.json shard-2/report.json --out merged
