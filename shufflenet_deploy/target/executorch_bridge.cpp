// ExecuTorch's C++ runtime behind plain C functions, which the agent's engine loads with ctypes.
//
// The wheel's own Python bindings need torch (427 MB on 64-bit ARM) and copy tensors around every
// inference; the libraries of the same wheel need neither. This file is compiled against its headers
// and linked to nothing: the engine has loaded the libraries before it, with their symbols global.
//
// The compiler's C++ library is not that of the wheel. Nothing of std:: is passed across, therefore:
// results stay where the runtime has written them, and are neither moved nor destroyed.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/runtime/core/event_tracer.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace runtime = executorch::runtime;
using executorch::extension::MmapDataLoader;
using runtime::Error;
using runtime::Result;

// Declared in a header that the wheel leaves out.
namespace executorch::extension::threadpool {
class __attribute__((visibility("default"))) ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
__attribute__((visibility("default"))) ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

void* allocated(size_t bytes, size_t alignment) {
  void* memory = nullptr;
  const size_t least = alignment < 64 ? 64 : alignment;
  return posix_memalign(&memory, least, bytes ? bytes : 1) == 0 ? memory : nullptr;
}

// Memory for what a method keeps; given back when the process ends.
class Heap final : public runtime::MemoryAllocator {
 public:
  Heap() : MemoryAllocator(0, nullptr) {}
  void* allocate(size_t bytes, size_t alignment) override { return allocated(bytes, alignment); }
};

// Memory for what an operator needs while it runs: freed after each of them.
class Scratch final : public runtime::MemoryAllocator {
 public:
  Scratch() : MemoryAllocator(0, nullptr) {}
  void* allocate(size_t bytes, size_t alignment) override {
    constexpr size_t kHead = 64;
    const size_t head = alignment < kHead ? kHead : alignment;
    auto* block = static_cast<uint8_t*>(allocated(bytes + head, head));
    if (block == nullptr) return nullptr;
    memcpy(block, &last_, sizeof last_);
    last_ = block;
    return block + head;
  }
  void reset() override {
    while (last_ != nullptr) {
      void* before;
      memcpy(&before, last_, sizeof before);
      free(last_);
      last_ = before;
    }
  }

 private:
  void* last_ = nullptr;
};

// One span of an inference, as the runtime or a backend tells it.
struct Span {
  char name[96];
  int64_t instruction;
  int32_t delegated;
  uint64_t ticks;
};

// Notes spans in memory reserved beforehand; what does not fit is counted, not kept.
class Tracer final : public runtime::EventTracer {
 public:
  void create_event_block(const char*) override {}
  runtime::EventTracerEntry start_profiling(
      const char* name, runtime::ChainID, runtime::DebugHandle) override {
    return begin(name, runtime::DelegateDebugIdType::kNone);
  }
  void end_profiling(runtime::EventTracerEntry entry) override { end(entry); }
  runtime::EventTracerEntry start_profiling_delegate(
      const char* name, runtime::DelegateDebugIntId) override {
    return begin(name, runtime::DelegateDebugIdType::kStr);
  }
  void end_profiling_delegate(runtime::EventTracerEntry entry, const void*, size_t) override {
    end(entry);
  }
  void log_profiling_delegate(
      const char* name, runtime::DelegateDebugIntId, et_timestamp_t start,
      et_timestamp_t stop, const void*, size_t) override {
    note(name, 1, stop - start);
  }
  void track_allocation(runtime::AllocatorID, size_t) override {}
  runtime::AllocatorID track_allocator(const char*) override { return 0; }
  Result<bool> log_evalue(const runtime::EValue&, runtime::LoggedEValueType) override {
    return false;
  }
  using Tensor = executorch::aten::Tensor;
  using Id = runtime::DelegateDebugIntId;
  Result<bool> log_intermediate_output_delegate(const char*, Id, const Tensor&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(
      const char*, Id, const runtime::ArrayRef<Tensor>) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const int&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const bool&) override {
    return false;
  }
  Result<bool> log_intermediate_output_delegate(const char*, Id, const double&) override {
    return false;
  }
  void set_delegation_intermediate_output_filter(runtime::EventTracerFilterBase*) override {}

  void clear() { count_ = 0; }
  size_t count() const { return count_; }
  const Span* at(size_t index) const { return index < count_ ? &spans_[index] : nullptr; }

 private:
  static constexpr size_t kMost = 1 << 14;

  runtime::EventTracerEntry begin(const char* name, runtime::DelegateDebugIdType kind) {
    runtime::EventTracerEntry entry{};
    entry.event_id = static_cast<int64_t>(
        note(name, kind == runtime::DelegateDebugIdType::kNone ? 0 : 1, 0));
    entry.delegate_event_id_type = kind;
    entry.start_time = et_pal_current_ticks();
    return entry;
  }
  void end(const runtime::EventTracerEntry& entry) {
    const auto index = static_cast<size_t>(entry.event_id);
    if (index < count_) spans_[index].ticks = et_pal_current_ticks() - entry.start_time;
  }
  size_t note(const char* name, int32_t delegated, uint64_t ticks) {
    if (count_ == kMost) return kMost;
    Span& span = spans_[count_];
    snprintf(span.name, sizeof span.name, "%s", name == nullptr ? "" : name);
    span.instruction = static_cast<int64_t>(static_cast<uint32_t>(current_debug_handle()));
    span.delegated = delegated;
    span.ticks = ticks;
    return count_++;
  }

  Span spans_[kMost];
  size_t count_ = 0;
};

constexpr size_t kMostInputs = 16;

// One loaded program and its method "forward".
struct Network {
  Result<MmapDataLoader> loader;
  Heap heap;
  Scratch scratch;
  Tracer* tracer;
  Result<runtime::Program>* program = nullptr;
  Result<runtime::MethodMeta>* meta = nullptr;
  Result<runtime::Method>* method = nullptr;
  runtime::EValue* inputs[kMostInputs] = {};
};

constexpr const char* kMethod = "forward";
char problem[256];

int failed(const char* what, Error error) {
  snprintf(problem, sizeof problem, "%s: %s (0x%02x)", what, executorch::runtime::to_string(error),
           static_cast<unsigned>(error));
  return -1;
}

runtime::MemoryManager* planned_memory(Network& network) {
  const auto& meta = network.meta->get();
  const size_t count = meta.num_memory_planned_buffers();
  auto* spans = new runtime::Span<uint8_t>[count];
  for (size_t i = 0; i < count; ++i) {
    const auto bytes = meta.memory_planned_buffer_size(i);
    if (!bytes.ok()) return nullptr;
    const auto size = static_cast<size_t>(bytes.get());
    spans[i] = {static_cast<uint8_t*>(allocated(size, 64)), size};
    if (spans[i].data() == nullptr) return nullptr;
  }
  auto* planned = new runtime::HierarchicalAllocator({spans, count});
  return new runtime::MemoryManager(&network.heap, planned, &network.scratch);
}

int loaded(Network& network) {
  if (!network.loader.ok()) return failed("cannot open the file", network.loader.error());
  network.program = new Result<runtime::Program>(runtime::Program::load(&network.loader.get()));
  if (!network.program->ok()) {
    return failed("failed to load model", network.program->error());
  }
  auto& program = network.program->get();
  network.meta = new Result<runtime::MethodMeta>(program.method_meta(kMethod));
  if (!network.meta->ok()) return failed("no method forward", network.meta->error());
  runtime::MemoryManager* memory = planned_memory(network);
  if (memory == nullptr) return failed("out of memory", Error::MemoryAllocationFailed);
  network.method = new Result<runtime::Method>(
      program.load_method(kMethod, memory, network.tracer));
  if (!network.method->ok()) return failed("cannot load forward", network.method->error());
  return 0;
}

}  // namespace

EXPORTED const char* bridge_problem() { return problem; }

EXPORTED size_t bridge_threads(uint32_t threads) {
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr) return 1;
  if (threads != 0 && pool->get_thread_count() != threads) pool->_unsafe_reset_threadpool(threads);
  return pool->get_thread_count();
}

// A program of a file; null where it cannot be loaded. With `tracing`, its spans are noted.
EXPORTED void* bridge_open(const char* path, int tracing) {
  runtime::runtime_init();
  auto* network = new Network{
      MmapDataLoader::from(path, MmapDataLoader::MlockConfig::NoMlock),
      {}, {}, tracing != 0 ? new Tracer : nullptr};
  return loaded(*network) == 0 ? network : nullptr;
}

// The name of a backend that the method was lowered to; null behind the last.
EXPORTED const char* bridge_backend(void* handle, size_t index) {
  const auto& meta = static_cast<Network*>(handle)->meta->get();
  if (index >= meta.num_backends()) return nullptr;
  const auto name = meta.get_backend_name(index);
  return name.ok() ? name.get() : nullptr;
}

EXPORTED size_t bridge_tensors(void* handle, int outputs) {
  const auto& meta = static_cast<Network*>(handle)->meta->get();
  return outputs != 0 ? meta.num_outputs() : meta.num_inputs();
}

// The rank of a tensor, its sizes (up to 8) and the number of its type; -1 if it is none.
EXPORTED int bridge_tensor(void* handle, int output, size_t index, int32_t* sizes, int32_t* type) {
  const auto& meta = static_cast<Network*>(handle)->meta->get();
  const auto info = output != 0 ? meta.output_tensor_meta(index) : meta.input_tensor_meta(index);
  if (!info.ok()) return failed("not a tensor", info.error());
  const auto shape = info.get().sizes();
  if (shape.size() > 8) return failed("more than 8 axes", Error::NotSupported);
  for (size_t axis = 0; axis < shape.size(); ++axis) sizes[axis] = shape[axis];
  *type = static_cast<int32_t>(info.get().scalar_type());
  return static_cast<int>(shape.size());
}

// Keep a copy of an input, which every inference is given.
EXPORTED int bridge_set_input(void* handle, size_t index, const void* data, size_t bytes) {
  auto& network = *static_cast<Network*>(handle);
  const auto& meta = network.meta->get();
  const auto info = meta.input_tensor_meta(index);
  if (!info.ok() || index >= kMostInputs) return failed("no such input", Error::InvalidArgument);
  if (info.get().nbytes() != bytes) return failed("another size", Error::InvalidArgument);
  const auto shape = info.get().sizes();
  const auto order = info.get().dim_order();
  auto* kept = allocated(bytes, 64);
  if (kept == nullptr) return failed("out of memory", Error::MemoryAllocationFailed);
  memcpy(kept, data, bytes);
  auto* sizes = new int32_t[shape.size() + 1];
  auto* strides = new int32_t[shape.size() + 1];
  auto* axes = new uint8_t[shape.size() + 1];
  int32_t stride = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    sizes[i] = shape[i];
    axes[i] = order[i];
  }
  for (size_t i = shape.size(); i-- > 0;) {
    strides[axes[i]] = stride;
    stride *= sizes[axes[i]];
  }
  auto* impl = new executorch::aten::TensorImpl(
      info.get().scalar_type(), static_cast<ssize_t>(shape.size()), sizes, kept, axes, strides);
  network.inputs[index] = new runtime::EValue(executorch::aten::Tensor(impl));
  return 0;
}

// An inference as an application makes it. The inputs are set anew: their planned memory may hold other
// values by the end of the last one.
EXPORTED int bridge_execute(void* handle) {
  auto& network = *static_cast<Network*>(handle);
  auto& method = network.method->get();
  for (size_t index = 0; index < kMostInputs && network.inputs[index] != nullptr; ++index) {
    const Error refused = method.set_input(*network.inputs[index], index);
    if (refused != Error::Ok) return failed("an input was refused", refused);
  }
  const Error error = method.execute();
  return error == Error::Ok ? 0 : failed("execute", error);
}

// The memory of an output of the last inference, and its size in bytes.
EXPORTED const void* bridge_output(void* handle, size_t index, size_t* bytes) {
  const auto& value = static_cast<Network*>(handle)->method->get().get_output(index);
  if (!value.isTensor()) return nullptr;
  const auto tensor = value.toTensor();
  *bytes = tensor.nbytes();
  return tensor.const_data_ptr();
}

EXPORTED size_t bridge_spans(void* handle) {
  auto* tracer = static_cast<Network*>(handle)->tracer;
  return tracer == nullptr ? 0 : tracer->count();
}

EXPORTED void bridge_forget_spans(void* handle) {
  auto* tracer = static_cast<Network*>(handle)->tracer;
  if (tracer != nullptr) tracer->clear();
}

// One span: its name, whether a delegate told it, the instruction it belongs to, and its ns.
EXPORTED const char* bridge_span(
    void* handle, size_t index, int32_t* delegated, int64_t* instruction, uint64_t* ns) {
  const Span* span = static_cast<Network*>(handle)->tracer->at(index);
  if (span == nullptr) return nullptr;
  const auto ratio = et_pal_ticks_to_ns_multiplier();
  *delegated = span->delegated;
  *instruction = span->instruction;
  *ns = span->ticks * ratio.numerator / ratio.denominator;
  return span->name;
}
