#ifndef FILEXFER_DETAIL_STORE_HELD_AMOUNT_HPP
#define FILEXFER_DETAIL_STORE_HELD_AMOUNT_HPP

#include <utility>

namespace filexfer::detail {

/// What `Owner`, which must outlive this, has set aside for a file. Movable. What is left at the
/// end goes back to the owner.
///
/// \tparam Owner  Has `use(held, used)`, which takes `used` off `held`, and `give_back(held)`.
template <class Owner, class Amount>
class held_amount {
 public:
  held_amount() noexcept = default;
  held_amount(Owner& owner, Amount amount) noexcept : owner_{&owner}, amount_{amount} {}
  held_amount(held_amount&& other) noexcept
      : owner_{std::exchange(other.owner_, nullptr)}, amount_{other.amount_} {}
  held_amount& operator=(held_amount&& other) noexcept {
    held_amount moved{std::move(other)};
    std::swap(owner_, moved.owner_);
    std::swap(amount_, moved.amount_);
    return *this;
  }
  ~held_amount() {
    if (owner_ != nullptr) owner_->give_back(amount_);
  }

  /// To be called after so much of it was used.
  void use(Amount used) noexcept {
    if (owner_ != nullptr) owner_->use(amount_, used);
  }

 private:
  Owner* owner_ = nullptr;
  Amount amount_;
};

}  // namespace filexfer::detail

#endif
