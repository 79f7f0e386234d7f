# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""A table for logistic regression: make_csv.py FILE ROWS COLUMNS

Numbers of a normal distribution, six digits behind the point, and a label of two classes, "yes" with the
probability that a linear model gives. Each number is one of 262,144, so that it is written in seconds.
"""
import math
import operator
import random
import sys

POOL = 1 << 18


def main():
    path, rows, columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(1)
    pool = [(value, "%.6f" % value) for value in (chance.gauss(0, 1) for _ in range(POOL))]
    weights = [chance.gauss(0, 2 / math.sqrt(columns)) for _ in range(columns)]
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(f"x{i}" for i in range(columns)) + ",label\n")
        for _ in range(rows):
            values, texts = zip(*chance.choices(pool, k=columns))
            logit = sum(map(operator.mul, weights, values)) - 0.5
            label = "yes" if chance.random() < 1 / (1 + math.exp(-logit)) else "no"
            file.write(",".join(texts) + "," + label + "\n")


if __name__ == "__main__":
    main()
