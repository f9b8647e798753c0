#!/bin/sh
# ngram.sh order-N SMOOTHING TEXT OUT: one cell of examples/ngrams.yaml.
exec awk -v order="${1#order-}" -v smoothing="$2" -v out="$4" -f "$(dirname "$0")/ngram.awk" "$3"
