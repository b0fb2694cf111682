#pragma once

namespace kente {

/// Bytes read and bytes written a second, of one thread that copies between two buffers larger than
/// its caches, for about so many seconds.
double copy_bytes_per_second(double seconds);

}  // namespace kente
