#include "csrc/base/bounded_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

namespace kente {
namespace {

TEST(BoundedQueue, GivesItemsBackInTheOrderTheyCame) {
  BoundedQueue<int> queue(3);
  EXPECT_TRUE(queue.push(1));
  EXPECT_TRUE(queue.push(2));
  EXPECT_TRUE(queue.push(3));
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_EQ(queue.pop(), 3);
}

TEST(BoundedQueue, NeverHoldsMoreThanItsCapacity) {
  BoundedQueue<int> queue(2);
  std::atomic<int> pushed = 0;
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) {
      queue.push(i);
      ++pushed;
    }
  });
  for (int popped = 0; popped < 1000; ++popped) {
    // The producer counts after its push returned: at most capacity items are pushed, unpopped.
    EXPECT_LE(pushed - popped, 2);
    EXPECT_EQ(queue.pop(), popped);
  }
  producer.join();
}

TEST(BoundedQueue, DeliversEveryItemOfManyProducersToManyConsumersOnce) {
  BoundedQueue<int> queue(4);
  constexpr int kProducers = 3;
  constexpr int kItems = 2000;
  std::vector<std::thread> producers;
  producers.reserve(kProducers);
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kItems; ++i) queue.push(p * kItems + i);
    });
  }
  std::vector<std::vector<int>> got(2);
  std::vector<std::thread> consumers;
  consumers.reserve(got.size());
  for (std::vector<int>& mine : got) {
    consumers.emplace_back([&] {
      while (const std::optional<int> item = queue.pop()) mine.push_back(*item);
    });
  }
  for (std::thread& t : producers) t.join();
  queue.close();
  for (std::thread& t : consumers) t.join();
  std::vector<int> all = got[0];
  all.insert(all.end(), got[1].begin(), got[1].end());
  std::sort(all.begin(), all.end());
  std::vector<int> want(size_t{kProducers} * kItems);
  std::iota(want.begin(), want.end(), 0);
  EXPECT_EQ(all, want);
}

TEST(BoundedQueue, ClosingWakesAProducerThatWaitsForRoom) {
  BoundedQueue<int> queue(1);
  queue.push(1);
  bool taken = true;
  std::thread producer([&] { taken = queue.push(2); });
  queue.close();
  producer.join();
  EXPECT_FALSE(taken);
}

TEST(BoundedQueue, ClosingWakesAConsumerThatWaitsForAnItem) {
  BoundedQueue<int> queue(1);
  std::optional<int> item = 7;
  std::thread consumer([&] { item = queue.pop(); });
  queue.close();
  consumer.join();
  EXPECT_FALSE(item.has_value());
}

TEST(BoundedQueue, ClosedStillGivesWhatItHolds) {
  BoundedQueue<int> queue(2);
  queue.push(1);
  queue.push(2);
  queue.close();
  EXPECT_FALSE(queue.push(3));
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, CarriesItemsThatCanOnlyMove) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  queue.push(std::make_unique<int>(5));
  EXPECT_EQ(**queue.pop(), 5);
}

}  // namespace
}  // namespace kente
