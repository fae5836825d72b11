#!/bin/sh
# A worker that prints a line for every job: worker.sh [SECONDS each]
# After TERM it finishes the job at hand and ends.
trap 'ending=yes' TERM
job=0
while [ -z "$ending" ]; do
	job=$((job + 1))
	sleep "${1:-3}"
	echo "$TEND_PROGRAM $TEND_INSTANCE: job $job done"
done
echo "$TEND_PROGRAM $TEND_INSTANCE: the end"
