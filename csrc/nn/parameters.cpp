#include "csrc/nn/parameters.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"
#include "csrc/nn/ops/element_type.h"

namespace kente {
namespace {

template <typename Real>
void fill(Real* to, const ParamSpec& spec, uint64_t seed, double range) {
  const auto stream = static_cast<uint64_t>(spec.init_stream);
  for (int64_t i = 0; i < spec.count; ++i)
    to[i] = static_cast<Real>(range *
                              random_normal(seed, RngUse::kInit, stream, static_cast<uint64_t>(i)));
}

void init_parameter(const at::Tensor& flat, const ParamSpec& spec, uint64_t seed, double range) {
  at::Tensor values = flat.narrow(0, spec.offset, spec.count);
  if (spec.init == InitKind::kZeros) {
    values.zero_();
  } else if (spec.init == InitKind::kOnes) {
    values.fill_(1);
  } else if (values.scalar_type() == at::kDouble) {
    fill(values.mutable_data_ptr<double>(), spec, seed, range);
  } else {
    fill(values.mutable_data_ptr<float>(), spec, seed, range);
  }
}

}  // namespace

Parameters::Parameters(const ModelConfig& model, const std::vector<int>& layers, DType compute,
                       Ops& ops)
    : ops_(ops),
      initializer_range_(model.initializer_range),
      residual_range_(model.family == ModelFamily::kGpt2
                          ? model.initializer_range /
                                std::sqrt(2.0 * static_cast<double>(model.num_hidden_layers))
                          : model.initializer_range),
      layout_(model_layout(model)),
      master_(layout_.size()),
      compute_(layout_.size()) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const at::ScalarType compute_type = scalar_type(compute);
  KENTE_CHECK(at::isFloatingType(compute_type), std::string(name_of(compute)));
  const at::ScalarType master_type = compute == DType::kF64 ? at::kDouble : at::kFloat;
  for (const ParamGroup& group : layout_) {
    const bool used = std::ranges::any_of(
        group.layers, [&](int layer) { return std::ranges::count(layers, layer) > 0; });
    if (!used) continue;
    held_.push_back(group.index);
    const auto index = static_cast<size_t>(group.index);
    master_[index] = ops_.zeros({group.size}, master_type);
    compute_[index] =
        compute_type == master_type ? master_[index] : ops_.zeros({group.size}, compute_type);
  }
}

void Parameters::init(uint64_t seed) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  for (const int group : held_) {
    const at::Tensor& flat = master_[static_cast<size_t>(group)];
    const at::Tensor on_host =
        flat.is_cpu() ? flat : at::zeros({layout(group).size}, flat.scalar_type());
    for (const ParamSpec& spec : layout(group).params)
      init_parameter(on_host, spec, seed,
                     spec.init == InitKind::kResidual ? residual_range_ : initializer_range_);
    if (!flat.is_cpu()) ops_.cast(ops_.from_host(on_host), flat);
    refresh(group);
  }
}

bool Parameters::holds(int group) const { return std::ranges::binary_search(held_, group); }

at::Tensor Parameters::master(int group) const {
  KENTE_CHECK(holds(group), "group " + std::to_string(group));
  return master_[static_cast<size_t>(group)];
}

at::Tensor Parameters::compute(int group) const {
  KENTE_CHECK(holds(group), "group " + std::to_string(group));
  return compute_[static_cast<size_t>(group)];
}

at::Tensor Parameters::view(const std::string& name) const { return view_in(compute_, name); }

at::Tensor Parameters::master_view(const std::string& name) const { return view_in(master_, name); }

at::Tensor Parameters::view_in(const std::vector<at::Tensor>& buffers,
                               const std::string& name) const {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  for (const int group : held_)
    for (const ParamSpec& spec : layout(group).params)
      if (spec.name == name)
        return buffers[static_cast<size_t>(group)]
            .narrow(0, spec.offset, spec.count)
            .view(spec.shape);
  throw InternalError("parameter " + name + " is not held here");
}

void Parameters::refresh(int group) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const at::Tensor from = master(group);
  at::Tensor to = compute(group);
  if (!to.is_same(from)) ops_.cast(from, to);
}

}  // namespace kente
