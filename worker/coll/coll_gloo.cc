// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: mlq authors
//
// Gloo (Debian's libgloo-dev, 2022-05-18), the only C++ of mlq: a full mesh of TCP connections that
// moves bytes between machines; on one machine ranks read each other's memory (coll_local.h). Nothing but the table at the end is visible outside, and no exception leaves this
// file. Gloo poisons a mesh after the first failure; so does coll.h.
//
// Gloo's own rendezvous and collectives cannot be ended by another thread, start their time limit
// anew with each round, and miss the death of a peer in the middle of a message: its error goes to
// the operations that wait for their turn, not to the one that is under way. So the mesh is
// connected and the bytes are moved here, with Gloo's pairs and buffers: each call has one limit,
// and a thread that listens to coll_abort wakes the waits. What still gets stuck is the watchdog's.
//
// Pairs are closed by their destructors only. Pair::close resets the connection, and a peer that has
// not accepted it by then ends: its Gloo thread throws where nobody catches.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

extern "C" {
#include "lib/base/err.h"
#include "lib/sys/clock.h"
}
#include "worker/coll/coll.h"
#include "worker/coll/coll_local.h"
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

void check(int rc, const mlq_err &err)
{
    if (rc != 0) {
        throw Failure(err);
    }
}

Failure failure(int code, const char *text)
{
    mlq_err err = {};
    (void)mlq_fail(&err, code, "%s", text);
    return Failure(err);
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

std::chrono::milliseconds left_ms(int64_t deadline_ns)
{
    int64_t ms = (deadline_ns - mlq_clock_boot_ns()) / MLQ_NS_PER_MS;
    return std::chrono::milliseconds(ms < 1 ? 1 : ms); // Gloo takes 0 for "no limit"
}

// ---- The mesh ----

using Buffer = gloo::transport::UnboundBuffer;

struct CloseLocal {
    void operator()(coll_local *local) const
    {
        coll_local_close(&local);
    }
};
using Local = std::unique_ptr<coll_local, CloseLocal>;

class Event
{
  public:
    Event() : fd(eventfd(0, EFD_CLOEXEC))
    {
        if (fd < 0) {
            throw failure(MLQ_EIO, "no eventfd");
        }
    }
    ~Event()
    {
        (void)close(fd);
    }
    Event(const Event &) = delete;
    Event &operator=(const Event &) = delete;
    void set() const
    {
        eventfd_t one = 1;
        (void)eventfd_write(fd, one);
    }
    const int fd;
};

// What is sent to, or received from, one rank.
struct Piece {
    size_t at;
    size_t bytes;
};

class Mesh
{
  public:
    Mesh(const coll_gang *gang, const char *address, Local peers, int64_t deadline_ns);
    ~Mesh();
    Mesh(const Mesh &) = delete;
    Mesh &operator=(const Mesh &) = delete;

    // Returns when all ranks have found each other's pairs.
    void connect(coll_store_client *store, int64_t deadline_ns);
    // Sends a piece of `in` to each other rank and receives one of `out` from each. Pieces of no
    // bytes do not travel, and a rank's own is not touched. With `views`, pieces that can be read
    // where they lie stay there, and views[r] becomes the place of rank r's.
    void exchange(const void *in,
                  const std::vector<Piece> &send,
                  void *out,
                  const std::vector<Piece> &receive,
                  const void **views,
                  int64_t deadline_ns);

    const size_t rank;
    const size_t size;
    const Local local; // the ranks of this machine

  private:
    struct Traffic; // the buffers of the running exchange, known to listen()

    void listen(int cancel_fd);
    void abort();
    void wake(size_t peer) const;
    void check_alive() const;
    void set_connecting(size_t peer);
    void move(const void *in,
              const std::vector<Piece> &send,
              void *out,
              const std::vector<Piece> &receive,
              int64_t deadline_ns);
    void start(Buffer *out, const std::vector<Piece> &pieces, bool is_send);
    void wait(Buffer *buffer, const std::vector<Piece> &pieces, bool is_send, int64_t deadline_ns);

    std::shared_ptr<gloo::transport::Device> device_;
    std::shared_ptr<gloo::transport::Context> context_;
    std::vector<std::vector<char>> doors_; // per peer: where its pair here is met
    uint64_t slot_ = 0; // of the running call: all ranks count alike
    Event stop_;
    std::thread listener_;
    mutable std::mutex lock_; // guards what follows
    bool aborted_ = false;
    size_t connecting_; // the pair that is waited for; this rank: none
    Buffer *sending_ = nullptr;
    Buffer *receiving_ = nullptr;
};

Mesh::Mesh(const coll_gang *gang, const char *address, Local peers, int64_t deadline_ns)
    : rank(gang->rank), size(gang->size), local(std::move(peers)), doors_(gang->size),
      connecting_(gang->rank)
{
    // The address by which this machine reaches rank 0 is the one that the gang can use.
    gloo::transport::tcp::attr attributes(address);
    device_ = gloo::transport::tcp::CreateDevice(attributes);
    context_ = device_->createContext(int(rank), int(size));
    context_->setTimeout(left_ms(deadline_ns));
    for (size_t peer = 0; peer < size; peer++) {
        if (peer != rank) {
            doors_[peer] = context_->createPair(int(peer))->address().bytes();
        }
    }
    listener_ = std::thread(&Mesh::listen, this, gang->cancel_fd);
}

Mesh::~Mesh()
{
    stop_.set();
    listener_.join();
    // What is on its way to a slower peer arrives, since nothing here closes a pair but its destructor.
}

// The listener's thread: until the mesh is aborted or goes.
void Mesh::listen(int cancel_fd)
{
    std::vector<struct pollfd> waiting = {{stop_.fd, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    const size_t peers = waiting.size();
    for (size_t peer = 0; peer < size; peer++) {
        waiting.push_back({coll_local_socket(local.get(), uint32_t(peer)), POLLIN, 0});
    }
    for (;;) {
        if (poll(waiting.data(), waiting.size(), -1) < 0) {
            continue; // EINTR
        }
        if (waiting[1].revents != 0) {
            return abort();
        }
        if (waiting[0].revents != 0) {
            return;
        }
        for (size_t peer = 0; peer < size; peer++) {
            if (waiting[peers + peer].revents != 0) {
                coll_local_lost(local.get(), uint32_t(peer));
                waiting[peers + peer].fd = -1;
            }
        }
    }
}

void Mesh::abort()
{
    size_t peer = rank;
    coll_local_abort(local.get());
    {
        std::lock_guard<std::mutex> guard(lock_);
        aborted_ = true;
        peer = connecting_;
        if (sending_ != nullptr) {
            sending_->abortWaitSend();
        }
        if (receiving_ != nullptr) {
            receiving_->abortWaitRecv();
        }
    }
    if (peer != rank) {
        wake(peer);
    }
}

// A pair that waits for its peer is content with whoever connects, and this rank looks whether it
// was aborted before it goes on. (One that connects to its peer does not wait for long.)
void Mesh::wake(size_t peer) const
{
    const gloo::transport::tcp::Address address(doors_[peer]);
    const sockaddr_storage &door = address.getSockaddr();
    int fd = socket(door.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        (void)::connect(fd, reinterpret_cast<const sockaddr *>(&door), sizeof(door));
        (void)close(fd);
    }
}

void Mesh::check_alive() const
{
    std::lock_guard<std::mutex> guard(lock_);
    if (aborted_) {
        throw failure(MLQ_ECANCELED, "the gang was aborted");
    }
}

void Mesh::connect(coll_store_client *store, int64_t deadline_ns)
{
    // A pair has an address of its own: what rank r publishes are its addresses for rank 0, 1, ...
    mlq_err err = {};
    size_t width = doors_[rank == 0 ? 1 : 0].size();
    std::vector<char> own, theirs(COLL_STORE_VALUE_BYTES_MAX);
    doors_[rank].resize(width);
    for (const std::vector<char> &door : doors_) {
        own.insert(own.end(), door.begin(), door.end());
    }
    check(coll_store_client_set(store, std::to_string(rank).c_str(), own.data(), own.size(),
                                deadline_ns, &err),
          err);
    std::vector<std::vector<char>> addresses(size);
    for (size_t peer = 0; peer < size; peer++) {
        size_t len = 0;
        check(coll_store_client_get(store, std::to_string(peer).c_str(), theirs.data(), &len,
                                    deadline_ns, &err),
              err);
        if (len != own.size()) {
            throw failure(MLQ_EPROTO, "a rank has published something else than its addresses");
        }
        auto from = theirs.begin() + ssize_t(rank * width);
        addresses[peer].assign(from, from + ssize_t(width));
    }
    for (size_t peer = 0; peer < size; peer++) {
        if (peer != rank) {
            set_connecting(peer);
            context_->getPair(int(peer))->connect(addresses[peer]);
        }
    }
    set_connecting(rank);
}

void Mesh::set_connecting(size_t peer)
{
    std::lock_guard<std::mutex> guard(lock_);
    connecting_ = peer;
    if (aborted_) {
        throw failure(MLQ_ECANCELED, "the gang was aborted");
    }
}

void Mesh::start(Buffer *buffer, const std::vector<Piece> &pieces, bool is_send)
{
    // Each begins with its neighbour, so that not all of them send to the same one first.
    for (size_t step = 1; step < size; step++) {
        size_t peer = is_send ? (rank + step) % size : (rank + size - step) % size;
        const Piece &piece = pieces[peer];
        if (piece.bytes > 0 && is_send) {
            buffer->send(int(peer), slot_, piece.at, piece.bytes);
        } else if (piece.bytes > 0) {
            buffer->recv(int(peer), slot_, piece.at, piece.bytes);
        }
    }
}

void Mesh::wait(Buffer *buffer, const std::vector<Piece> &pieces, bool is_send, int64_t deadline_ns)
{
    for (size_t peer = 0; peer < size; peer++) {
        if (peer == rank || pieces[peer].bytes == 0) {
            continue;
        }
        bool done = is_send ? buffer->waitSend(left_ms(deadline_ns))
                            : buffer->waitRecv(left_ms(deadline_ns));
        if (!done) {
            throw failure(MLQ_ECANCELED, "the gang was aborted");
        }
    }
}

// Makes the buffers of one exchange known to the listener, and takes them back.
struct Mesh::Traffic {
    Traffic(Mesh *owner, Buffer *in, Buffer *out) : mesh(owner)
    {
        mesh->check_alive();
        set(in, out);
    }
    ~Traffic()
    {
        set(nullptr, nullptr);
    }
    void set(Buffer *in, Buffer *out) const
    {
        std::lock_guard<std::mutex> guard(mesh->lock_);
        mesh->sending_ = in;
        mesh->receiving_ = out;
        if (mesh->aborted_ && in != nullptr) {
            in->abortWaitSend();
            out->abortWaitRecv();
        }
    }
    Mesh *mesh;
};

size_t end_of(const std::vector<Piece> &pieces)
{
    size_t end = 0;
    for (const Piece &piece : pieces) {
        end = std::max(end, piece.at + piece.bytes);
    }
    return end;
}

// Who has come to the call on this machine is asked first: without them it cannot end anyway.
void Mesh::exchange(const void *in,
                    const std::vector<Piece> &send,
                    void *out,
                    const std::vector<Piece> &receive,
                    const void **views,
                    int64_t deadline_ns)
{
    mlq_err err = {};
    std::vector<Piece> sends = send, receives = receive; // by the network
    uint64_t at[COLL_RANKS_MAX] = {};
    for (size_t peer = 0; peer < size; peer++) {
        at[peer] = send[peer].at;
    }
    bool is_read = coll_local_offer(local.get(), in, end_of(send), at);
    check(coll_local_await(local.get(), deadline_ns, &err), err);
    for (size_t peer = 0; peer < size; peer++) {
        const void *piece = static_cast<char *>(out) + receive[peer].at;
        if (peer == rank) {
            piece = static_cast<const char *>(in) + send[peer].at;
        } else if (coll_local_has(local.get(), uint32_t(peer))) {
            sends[peer].bytes = is_read ? 0 : send[peer].bytes;
            const void *lies = coll_local_piece(local.get(), uint32_t(peer));
            receives[peer].bytes = lies != nullptr ? 0 : receive[peer].bytes;
            if (lies != nullptr && views == nullptr && receive[peer].bytes > 0) {
                std::memcpy(static_cast<char *>(out) + receive[peer].at, lies, receive[peer].bytes);
            }
            piece = lies != nullptr ? lies : piece;
        }
        if (views != nullptr) {
            views[peer] = piece;
        }
    }
    move(in, sends, out, receives, deadline_ns);
    slot_++;
}

void Mesh::move(const void *in,
                const std::vector<Piece> &send,
                void *out,
                const std::vector<Piece> &receive,
                int64_t deadline_ns)
{
    auto travels = [&](const std::vector<Piece> &pieces) {
        bool any = false;
        for (size_t peer = 0; peer < size; peer++) {
            any = any || (peer != rank && pieces[peer].bytes > 0);
        }
        return any;
    };
    if (!travels(send) && !travels(receive)) {
        return;
    }
    size_t in_bytes = end_of(send), out_bytes = end_of(receive);
    // Gloo's signature wants a mutable input, which it only reads.
    auto from = context_->createUnboundBuffer(const_cast<void *>(in), in_bytes);
    auto to = context_->createUnboundBuffer(out, out_bytes);
    Traffic traffic(this, from.get(), to.get());
    start(to.get(), receive, false);
    start(from.get(), send, true);
    wait(to.get(), receive, false, deadline_ns);
    wait(from.get(), send, true, deadline_ns);
}

// ---- Open ----

void barrier(Mesh *mesh, int64_t deadline_ns)
{
    std::vector<char> in(mesh->size), out(mesh->size);
    std::vector<Piece> pieces;
    for (size_t peer = 0; peer < mesh->size; peer++) {
        pieces.push_back({peer, 1});
    }
    mesh->exchange(in.data(), pieces, out.data(), pieces, nullptr, deadline_ns);
}

int meet(const coll_gang *gang, int64_t deadline_ns, std::unique_ptr<Mesh> *mesh, mlq_err *err)
{
    char address[COLL_STORE_ADDRESS_BYTES];
    coll_store_client *store = nullptr;
    coll_local *local = nullptr;
    int rc = coll_store_client_open(gang, deadline_ns, &store, address, err);
    rc = rc != 0 ? rc : coll_local_open(gang, store, deadline_ns, &local, err);
    if (rc != 0) {
        coll_store_client_close(&store);
        return rc;
    }
    rc = guarded(err, [&] {
        *mesh = std::make_unique<Mesh>(gang, address, Local(local), deadline_ns);
        (*mesh)->connect(store, deadline_ns);
        // Nobody leaves before all are connected: rank 0 takes the meeting point down after this.
        barrier(mesh->get(), deadline_ns);
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
    std::unique_ptr<Mesh> mesh;
    int rc = meet(gang, deadline_ns, &mesh, err);
    if (rc != 0 && server != nullptr) {
        char missing[COLL_MISSING_BYTES];
        coll_missing_text(coll_store_present(server), gang->size, missing);
        if (missing[0] != '\0') {
            rc = mlq_wrap(err, rc, "ranks that did not come: %s", missing);
        }
    }
    coll_store_stop(&server);
    if (rc == 0) {
        *state = mesh.release();
    }
    return rc;
}

// ---- Moves ----

std::vector<Piece> pieces_of(const Mesh *mesh, const uint64_t *bytes)
{
    std::vector<Piece> pieces;
    size_t at = 0;
    for (size_t peer = 0; peer < mesh->size; peer++) {
        pieces.push_back({at, bytes[peer]});
        at += bytes[peer];
    }
    return pieces;
}

void copy(void *to, const void *from, const Piece &to_piece, const Piece &from_piece)
{
    if (to_piece.bytes > 0) {
        std::memcpy(static_cast<char *>(to) + to_piece.at,
                    static_cast<const char *>(from) + from_piece.at, to_piece.bytes);
    }
}

int gloo_allgather_view(void *state,
                        const void *send,
                        void *receive,
                        const uint64_t *bytes,
                        const void **views,
                        int64_t timeout_ns,
                        mlq_err *err)
{
    Mesh *mesh = static_cast<Mesh *>(state);
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    return guarded(err, [&] {
        std::vector<Piece> in(mesh->size, Piece{0, bytes[mesh->rank]});
        std::vector<Piece> out = pieces_of(mesh, bytes);
        mesh->exchange(send, in, receive, out, views, deadline_ns);
        if (views == nullptr) {
            copy(receive, send, out[mesh->rank], in[mesh->rank]);
        }
    });
}

int gloo_allgather(void *state,
                   const void *send,
                   void *receive,
                   const uint64_t *bytes,
                   int64_t timeout_ns,
                   mlq_err *err)
{
    return gloo_allgather_view(state, send, receive, bytes, nullptr, timeout_ns, err);
}

int gloo_broadcast(
    void *state, void *data, uint64_t bytes, uint32_t root, int64_t timeout_ns, mlq_err *err)
{
    Mesh *mesh = static_cast<Mesh *>(state);
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    return guarded(err, [&] {
        std::vector<Piece> in(mesh->size), out(mesh->size);
        if (mesh->rank == root) {
            in.assign(mesh->size, Piece{0, bytes});
        } else {
            out[root] = Piece{0, bytes};
        }
        mesh->exchange(data, in, data, out, nullptr, deadline_ns);
    });
}

int gloo_barrier(void *state, int64_t timeout_ns, mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    return guarded(err, [&] { barrier(static_cast<Mesh *>(state), deadline_ns); });
}

int gloo_alltoall_view(void *state,
                       const void *send,
                       const uint64_t *send_bytes,
                       void *receive,
                       const uint64_t *receive_bytes,
                       const void **views,
                       int64_t timeout_ns,
                       mlq_err *err)
{
    Mesh *mesh = static_cast<Mesh *>(state);
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    return guarded(err, [&] {
        std::vector<Piece> in = pieces_of(mesh, send_bytes), out = pieces_of(mesh, receive_bytes);
        mesh->exchange(send, in, receive, out, views, deadline_ns);
        if (views == nullptr) {
            copy(receive, send, out[mesh->rank], in[mesh->rank]);
        }
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
    return gloo_alltoall_view(state, send, send_bytes, receive, receive_bytes, nullptr, timeout_ns,
                              err);
}

void *gloo_memory(void *state, uint64_t bytes)
{
    return coll_local_memory(static_cast<Mesh *>(state)->local.get(), bytes);
}

// Where rank 0's pages are, or that a rank cannot read the others' memory.
struct Pages {
    uint64_t are_possible;
    uint64_t place;
};

int gloo_shared_memory(
    void *state, uint64_t bytes, void **memory, int64_t timeout_ns, mlq_err *err)
{
    Mesh *mesh = static_cast<Mesh *>(state);
    coll_local *local = mesh->local.get();
    int64_t deadline_ns = mlq_clock_boot_ns() + timeout_ns;
    return guarded(err, [&] {
        Pages own = {coll_local_has_all(local), 0};
        if (own.are_possible != 0 && mesh->rank == 0) {
            own.are_possible = coll_local_pages(local, bytes, &own.place) != nullptr;
        }
        std::vector<Pages> all(mesh->size, own);
        std::vector<Piece> in(mesh->size, Piece{0, sizeof(own)});
        std::vector<Piece> out;
        for (size_t peer = 0; peer < mesh->size; peer++) {
            out.push_back({peer * sizeof(own), sizeof(own)});
        }
        mesh->exchange(&own, in, all.data(), out, nullptr, deadline_ns);
        if (std::any_of(all.begin(), all.end(), [](const Pages &one) { return one.are_possible == 0; })) {
            return;
        }
        *memory = coll_local_open_pages(local, 0, all[0].place, bytes);
        if (*memory == nullptr) {
            throw failure(MLQ_EIO, "the system lets no rank write into the memory of another one");
        }
    });
}

void gloo_close(void *state)
{
    (void)guarded(nullptr, [&] { delete static_cast<Mesh *>(state); });
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
    .memory = gloo_memory,
    .allgather_view = gloo_allgather_view,
    .alltoall_view = gloo_alltoall_view,
    .shared_memory = gloo_shared_memory,
    .allreduce = nullptr, // made of the moves
    .abort = nullptr, // the mesh listens to cancel_fd
    .close = gloo_close,
};
