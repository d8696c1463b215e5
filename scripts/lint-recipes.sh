#!/usr/bin/env bash
# The recipes of docs/ci and the scripts here, by the validators that are packaged: check-jsonschema with GitLab's own JSON Schema,
# a Groovy grammar for the Jenkinsfile, shellcheck. Each must also refuse a copy that is spoiled. What is lacking comes from pip
# and apt; GitHub's and Tekton's recipes are those of tools/recipes, which needs only Go.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { echo "lint-recipes: $*" >&2; exit 1; }

if ! command -v shellcheck >/dev/null; then
  echo "installing shellcheck"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends shellcheck >/dev/null
fi
venv=$(scripts/validators.sh)

gitlab() { "$venv/bin/check-jsonschema" --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci "$1"; }
groovy() {
  "$venv/bin/python" - "$1" <<'P'
import sys
import tree_sitter, tree_sitter_groovy
text = open(sys.argv[1], "rb").read()
def wrong(node):
    if node.type == "ERROR" or node.is_missing:
        yield node
    for child in node.children:
        yield from wrong(child)
found = list(wrong(tree_sitter.Parser(tree_sitter.Language(tree_sitter_groovy.language())).parse(text).root_node))
for node in found:
    print(f"{sys.argv[1]}:{node.start_point[0] + 1}:{node.start_point[1] + 1}: no Groovy: {node.text[:60]!r}")
sys.exit(bool(found))
P
}

# validated VALIDATOR FILE SED...: the file is right, and is not once sed has spoiled it.
validated() {
  local validator=$1 file=$2 spoil copy
  copy=$work/$(basename "$file")
  "$validator" "$file" >"$work/said" 2>&1 || { cat "$work/said" >&2; die "$file is not right"; }
  for spoil in "${@:3}"; do
    sed "$spoil" "$file" >"$copy"
    ! cmp -s "$file" "$copy" || die "$file: $spoil spoils nothing"
    ! "$validator" "$copy" >"$work/said" 2>&1 || die "$validator takes $file after $spoil"
  done
  echo "ok  $file, and ${validator} refuses it spoiled"
}
validated gitlab docs/ci/gitlab-ci.yaml 's/parallel: 5/paralel: 5/' 's/when: always/when: whenever/'
validated groovy docs/ci/Jenkinsfile '$d' "s/'make build'/'make build/" 's/script {/script/'
validated shellcheck docs/ci/docker.sh 's/"shard-$shard" --timeout/"shard-$shard --timeout/' '/^done$/d' 's/|| exit/|| exit $?; cd $1/'
shellcheck -S warning scripts/*.sh scripts/faults/*.sh || die "shellcheck finds what is above in the scripts"
echo "ok  scripts/*.sh, scripts/faults/*.sh: shellcheck"
