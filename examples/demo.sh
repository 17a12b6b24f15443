#!/bin/sh
# The main job, from a table to predictions: each line that begins with $ is a command to copy.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/demo
run() { printf '\n$ %s\n' "$*"; "$@"; }

run layerwise fit examples/data/adult.csv.gz --target income --out build/demo/adult.layerwise

# A new process, which knows nothing but the file.
run layerwise predict build/demo/adult.layerwise examples/data/adult.csv.gz --probabilities --out build/demo/predictions.csv
head -n 4 build/demo/predictions.csv

printf '\n$ python  # one row by hand, as the file of the model is all that is needed\n'
python - <<'PYTHON'
import layerwise as lw

model = lw.load("build/demo/adult.layerwise")
person = {
    "age": [39], "workclass": ["Private"], "fnlwgt": [120000], "education": ["Masters"], "education_num": [14],
    "marital_status": ["Married-civ-spouse"], "occupation": ["Prof-specialty"], "relationship": ["Wife"],
    "race": ["White"], "sex": ["Female"], "capital_gain": [0], "capital_loss": [None], "hours_per_week": [40],
    "native_country": ["Atlantis"],
}
probability = model.predict_proba(person)[0, 1]
print(f"A made-up person, one cell missing, one country unknown: {model.predict(person)[0]} (probability {probability:.2f})")
PYTHON
