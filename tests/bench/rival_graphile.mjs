// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: mlq authors
//
// graphile-worker with no-op jobs, a worker process of its own, as its documentation tunes it:
//     rival_graphile.mjs MODULES latency N | jobs N
// MODULES is the folder where `npm i graphile-worker` was run; PGHOST, PGUSER, PGDATABASE say where.
import { fork } from "node:child_process";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [modules, mode, count] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const require = createRequire(modules + "/");
const { Logger, makeWorkerUtils, run, runMigrations } = require("graphile-worker");
const logger = new Logger(() => () => {});
const connectionString = `postgres://${process.env.PGUSER}@/${process.env.PGDATABASE}?host=${encodeURIComponent(process.env.PGHOST)}`;
const preset = {
    worker: {
        connectionString, logger, concurrentJobs: 24, maxPoolSize: 26, pollInterval: 2000,
        localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0,
    },
};
const now = () => Number(process.hrtime.bigint()) / 1e3; // the same clock in every process, in us

async function work() {
    let done = 0;
    let first;
    const noop = (payload) => {
        first ??= now();
        done++;
        if (payload.sent !== undefined) process.send({ latency: now() - payload.sent });
    };
    await run({ preset, logger, noHandleSignals: true, taskList: { noop } });
    setInterval(() => { if (done > 0) { process.send({ done, first }); done = 0; } }, 2);
    process.send({ ready: true });
}

function startWorker(onMessage) {
    return new Promise((resolve) => {
        const child = fork(process.argv[1], [modules, "work"]);
        child.on("message", (message) => (message.ready ? resolve(child) : onMessage(message)));
    });
}

async function measureLatency(utils) {
    const latencies = [];
    let wake;
    const child = await startWorker((message) => {
        if (message.latency !== undefined) { latencies.push(message.latency); wake(); }
    });
    const warm = 20;
    for (let i = 0; i < warm + count; i++) {
        const started = new Promise((resolve) => (wake = resolve));
        await utils.addJob("noop", { sent: now() });
        await started;
        await sleep(3);
    }
    const sorted = latencies.slice(warm).sort((a, b) => a - b);
    const at = (share) => sorted[Math.floor(sorted.length * share)].toFixed(0);
    console.log(`start_p50_us=${at(0.5)} start_p99_us=${at(0.99)}`);
    child.kill();
}

async function measureJobs(utils) {
    const began = now();
    for (let i = 0; i < count; i += 5000) {
        await utils.addJobs(Array.from({ length: Math.min(5000, count - i) }, (_, k) => ({ identifier: "noop", payload: { id: i + k } })));
    }
    const added = now() - began;
    let left = count;
    let first;
    let finish;
    const finished = new Promise((resolve) => (finish = resolve));
    const child = await startWorker((message) => {
        first ??= message.first; // starting node is not the queue's work
        left -= message.done ?? 0;
        if (left <= 0) finish();
    });
    await finished;
    console.log(`jobs_per_s=${((count / (added + now() - first)) * 1e6).toFixed(0)}`);
    child.kill();
}

if (mode === "work") {
    await work();
} else {
    await runMigrations({ preset, logger });
    const utils = await makeWorkerUtils({ preset, logger });
    await (mode === "latency" ? measureLatency(utils) : measureJobs(utils));
    await utils.release();
    process.exit(0);
}
