#include "csrc/device/staging.h"

namespace kente {

Staging::Place Staging::take(int64_t bytes) {
  for (auto place = places_.begin(); place != places_.end(); ++place) {
    if (place->bytes() < bytes || !place->event().passed()) continue;
    Place found = std::move(*place);
    places_.erase(place);
    return found;
  }
  return {device_.allocate_pinned(bytes), device_.make_event()};
}

void Staging::give_back(Place place, Stream& stream) {
  stream.record(place.event());
  places_.push_back(std::move(place));
}

void Staging::upload(Place place, void* to, int64_t bytes, Stream& stream) {
  stream.copy(to, place.data(), bytes);
  give_back(std::move(place), stream);
}

}  // namespace kente
