// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: mlq authors
//
// Gloo (Debian's libgloo-dev, 2022-05-18), the only C++ of mlq: a full mesh of TCP connections that
// moves bytes. Nothing but the table at the end is visible outside, and no exception leaves this
// file. Gloo poisons a context after the first failure; so does coll.h. The calls' time limits are
// Gloo's own; coll.c's watchdog covers the cases where it does not keep them.
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <signal.h>

#include <gloo/allgatherv.h>
#include <gloo/alltoallv.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

extern "C" {
#include "lib/base/err.h"
#include "lib/sys/clock.h"
}
#include "worker/coll/coll.h"
#include "worker/coll/coll_store.h"

namespace
{

// One of our own failures on its way through Gloo.
struct Failure : public std::exception {
    explicit Failure(const mlq_err &e) : err(e)
    {
    }
    const char *what() const noexcept override
    {
        return err.text;
    }
    mlq_err err;
};

// Gloo's view of the meeting point.
class MeetingPoint : public gloo::rendezvous::Store
{
  public:
    MeetingPoint(coll_store_client *store, int64_t deadline_ns)
        : store_(store), deadline_ns_(deadline_ns)
    {
    }

    void set(const std::string &key, const std::vector<char> &data) override
    {
        mlq_err err = {};
        check(coll_store_client_set(store_, key.c_str(), data.data(), data.size(), deadline_ns_,
                                    &err),
              err);
    }

    std::vector<char> get(const std::string &key) override
    {
        mlq_err err = {};
        std::vector<char> value(COLL_STORE_VALUE_BYTES_MAX);
        size_t len = 0;
        check(coll_store_client_get(store_, key.c_str(), value.data(), &len, deadline_ns_, &err),
              err);
        value.resize(len);
        return value;
    }

    void wait(const std::vector<std::string> &keys) override
    {
        for (const std::string &key : keys) {
            (void)get(key);
        }
    }

    void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &) override
    {
        wait(keys); // our deadline is the stricter one
    }

  private:
    static void check(int rc, const mlq_err &err)
    {
        if (rc != 0) {
            throw Failure(err);
        }
    }

    coll_store_client *store_;
    int64_t deadline_ns_;
};

struct Gloo {
    std::shared_ptr<gloo::transport::Device> device;
    std::shared_ptr<gloo::rendezvous::Context> context;
    uint32_t tag = 0;
};

std::chrono::milliseconds to_ms(int64_t timeout_ns)
{
    int64_t ms = timeout_ns / MLQ_NS_PER_MS;
    return std::chrono::milliseconds(ms < 1 ? 1 : ms); // Gloo takes 0 for "no limit"
}

// Runs `body` and turns an exception into an error. Gloo says "Timed out" in its texts, not in its
// types.
template <typename Body> int guarded(mlq_err *err, Body body)
{
    try {
        body();
        return 0;
    } catch (const Failure &e) {
        return mlq_fail(err, e.err.code, "%s", e.err.text);
    } catch (const std::exception &e) {
        bool late = std::strstr(e.what(), "imed out") != nullptr;
        return mlq_fail(err, late ? MLQ_ETIMEOUT : MLQ_ECONN, "gloo: %s", e.what());
    } catch (...) {
        return mlq_fail(err, MLQ_ECONN, "gloo: unknown exception");
    }
}

int meet(const coll_gang *gang, int64_t deadline_ns, Gloo *gloo_state, mlq_err *err)
{
    char local[COLL_STORE_ADDRESS_BYTES];
    coll_store_client *store = nullptr;
    int rc = coll_store_client_open(gang, deadline_ns, &store, local, err);
    if (rc != 0) {
        return rc;
    }
    rc = guarded(err, [&] {
        // The address by which this machine reaches rank 0 is the one that the gang can use.
        gloo::transport::tcp::attr attributes(local);
        gloo_state->device = gloo::transport::tcp::CreateDevice(attributes);
        auto context =
            std::make_shared<gloo::rendezvous::Context>(int(gang->rank), int(gang->size));
        int64_t left_ns = deadline_ns - mlq_clock_boot_ns();
        context->setTimeout(to_ms(left_ns));
        MeetingPoint point(store, deadline_ns);
        context->connectFullMesh(point, gloo_state->device);
        gloo_state->context = context;
        // Nobody leaves before all are connected: rank 0 takes the meeting point down after this.
        gloo::BarrierOptions options(gloo_state->context);
        options.setTimeout(to_ms(deadline_ns - mlq_clock_boot_ns()));
        options.setTag(gloo_state->tag++);
        gloo::barrier(options);
    });
    coll_store_client_close(&store);
    return rc;
}

int gloo_open(const coll_gang *gang, int64_t timeout_ns, void **state, mlq_err *err)
{
    *state = nullptr;
    // Gloo writes to sockets whose peer may have died; without this the signal ends the process
    // before the error is seen.
    (void)signal(SIGPIPE, SIG_IGN);
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    coll_store_server *server = nullptr;
    if (gang->rank == 0) {
        int rc = coll_store_serve(gang, &server, err);
        if (rc != 0) {
            return rc;
        }
    }
    auto opened = std::make_unique<Gloo>();
    int rc = meet(gang, deadline_ns, opened.get(), err);
    if (rc != 0 && server != nullptr) {
        char missing[COLL_MISSING_BYTES];
        coll_missing_text(coll_store_present(server), gang->size, missing);
        if (missing[0] != '\0') {
            rc = mlq_wrap(err, rc, "ranks that did not come: %s", missing);
        }
    }
    coll_store_stop(&server);
    if (rc == 0) {
        *state = opened.release();
    }
    return rc;
}

int gloo_allgather(void *state,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   mlq_err *err)
{
    Gloo *self = static_cast<Gloo *>(state);
    return guarded(err, [&] {
        std::vector<size_t> counts(bytes, bytes + self->context->size);
        gloo::AllgathervOptions options(self->context);
        // Gloo's signature wants a mutable input, which it only reads.
        options.setInput(static_cast<char *>(const_cast<void *>(send)),
                         counts[size_t(self->context->rank)]);
        options.setOutput(static_cast<char *>(receive), counts);
        options.setTag(self->tag++);
        options.setTimeout(to_ms(timeout_ns));
        gloo::allgatherv(options);
    });
}

int gloo_broadcast(
    void *state, void *data, uint64_t bytes, uint32_t root, int64_t timeout_ns, mlq_err *err)
{
    Gloo *self = static_cast<Gloo *>(state);
    if (bytes == 0) {
        return 0;
    }
    return guarded(err, [&] {
        gloo::BroadcastOptions options(self->context);
        options.setOutput(static_cast<char *>(data), bytes);
        options.setRoot(int(root));
        options.setTag(self->tag++);
        options.setTimeout(to_ms(timeout_ns));
        gloo::broadcast(options);
    });
}

int gloo_barrier(void *state, int64_t timeout_ns, mlq_err *err)
{
    Gloo *self = static_cast<Gloo *>(state);
    return guarded(err, [&] {
        gloo::BarrierOptions options(self->context);
        options.setTag(self->tag++);
        options.setTimeout(to_ms(timeout_ns));
        gloo::barrier(options);
    });
}

int gloo_alltoall(void *state,
                  const void *send,
                  const uint64_t *send_bytes,
                  void *receive,
                  const uint64_t *receive_bytes,
                  int64_t timeout_ns,
                  mlq_err *err)
{
    Gloo *self = static_cast<Gloo *>(state);
    return guarded(err, [&] {
        auto size = self->context->size;
        gloo::AlltoallvOptions options(self->context);
        options.setInput(static_cast<char *>(const_cast<void *>(send)),
                         std::vector<int64_t>(send_bytes, send_bytes + size));
        options.setOutput(static_cast<char *>(receive),
                          std::vector<int64_t>(receive_bytes, receive_bytes + size));
        options.setTag(self->tag++);
        options.setTimeout(to_ms(timeout_ns));
        gloo::alltoallv(options);
    });
}

void gloo_close(void *state)
{
    Gloo *self = static_cast<Gloo *>(state);
    (void)guarded(nullptr, [&] { self->context->closeConnections(); });
    (void)guarded(nullptr, [&] { delete self; });
}

} // namespace

extern "C" const coll_ops coll_gloo_ops = {
    .name = "gloo",
    .may_stick = true,
    .open = gloo_open,
    .allgather = gloo_allgather,
    .broadcast = gloo_broadcast,
    .barrier = gloo_barrier,
    .alltoall = gloo_alltoall,
    .abort = nullptr, // Gloo's waits end by its own limit only
    .close = gloo_close,
};
