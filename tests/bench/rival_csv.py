# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: mlq authors
"""pandas reads a CSV file into typed columns: rival_csv.py FILE"""
import os
import sys
import time

import pandas

start = time.monotonic()
frame = pandas.read_csv(sys.argv[1])
print(f"mb_per_s={os.path.getsize(sys.argv[1]) / 1e6 / (time.monotonic() - start):.1f} rows={len(frame)}")
