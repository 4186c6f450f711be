#!/bin/sh
# The main job, from nothing: a spool, jobs of every kind, two workers, and what is left to look at.
set -eu

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

home=$(mktemp -d "${TMPDIR:-/tmp}/queuectl-demo.XXXXXX")
export QUEUECTL_SPOOL="$home/spool"
cd "$home"

say "A spool is a directory."
run queuectl init "$QUEUECTL_SPOOL"
run queuectl config set max-retries 2
run queuectl config set backoff-base 1

say "Submit jobs: that succeed, fail, take too long, wait for their time, jump the queue."
run queuectl enqueue --id hello -- 'echo Hello from a job'
run queuectl enqueue '{"id": "broken", "command": "badcommand"}'
run queuectl enqueue --id endless --timeout 1 --max-retries 0 -- sleep 600
run queuectl enqueue --id later --in 3s -- 'echo The time has come'
run queuectl enqueue --id urgent --priority 1 -- 'echo Me first'
for n in 1 2 3 4 5; do printf '{"command": "sleep 0.%s; echo part %s"}\n' "$n" "$n"; done | queuectl enqueue -q - >/dev/null

say "Any tool that can write a file can submit one."
echo '{"command": "echo I was dropped with cp"}' >dropped.json
run cp dropped.json "$QUEUECTL_SPOOL/pending/"

say "ls shows the order in which they will start."
run ls "$QUEUECTL_SPOOL/pending"

say "Two at a time, until nothing is left."
run queuectl worker start --count 2 --drain

say "How it went."
run queuectl status
run queuectl dlq list
run queuectl logs hello
run queuectl metrics

say "And it is all still there to look at."
run ls "$QUEUECTL_SPOOL/done" "$QUEUECTL_SPOOL/dead"
printf '\nThe spool of this demo: %s\n' "$QUEUECTL_SPOOL"
