#!/usr/bin/env bash
# Train on the built-in task without delays, with fixed random ones and with learned ones; compare
# the three; export the learned network as an integer delay table. Under 3 minutes on 2 cores.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" ""

runs=runs/quickstart/$(date +%Y-%m-%d_%H-%M-%S)
for delays in none fixed learned; do
    echo; echo "== $delays delays =="
    .venv/bin/snn-delays-train model.delays=$delays run="$runs/$delays"
done
echo; echo "== all three =="
.venv/bin/snn-delays-evaluate "run=[$runs/none,$runs/fixed,$runs/learned]" plot="$runs/comparison.png"
echo; echo "== export =="
.venv/bin/snn-delays-export run="$runs/learned"
echo
echo "Results:        $PWD/$runs"
echo "Side by side:   $PWD/$runs/comparison.png"
echo "Learned delays: $PWD/$runs/learned/delays.png"
echo "Delay table:    $PWD/$runs/learned/export/delays.h5"
