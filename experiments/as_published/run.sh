#!/bin/sh
# Train the demo by the code before these changes and by that of today, on the same splits and seeds.
# JOBS runs at a time; a finished run is not repeated. BEFORE: a checkout of that code, made when it is not there.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
out=${OUT:-outputs/as_published}
before=${BEFORE:-$out/code}
python=${PYTHON:-python}
export PYTHONPATH="${PYTHONPATH:-}"
[ -d "$before" ] || git -C "$here" worktree add --detach "$(realpath -m "$before")" fbaf04b
for seed in 1 2 3; do
  for split in 1 2 3; do
    echo "$before" before-$seed $seed $split
    echo "$here" after-$seed $seed $split
  done
done | xargs -P "${JOBS:-1}" -L 1 sh -c 'PYTHONPATH=$1/src:$PYTHONPATH '"$python"' -m mimi_lightning experiment=demo \
  name=$2 seed=$3 split=$4 paths.outputs='"$out"' backbone=efficientnet_lite0 backbone.freeze=none scheduler=cosine \
  optimizer.lr=2e-3 trainer.max_epochs=6 trainer.check_val_every_n_epoch=3 trainer.enable_progress_bar=false' sh
"$python" "$here/experiments/as_published/summary.py" "$out"
