// One thing at a time for each user, in the order of asking: so that a connect, its queue and live events never cross.

export class Turns {
  #tails = new Map();

  /** Settles, with the function that ends the turn, once every earlier turn of the user has ended. */
  async take(userId) {
    const before = this.#tails.get(userId);
    let end;
    const mine = new Promise((resolve) => (end = resolve));
    this.#tails.set(userId, mine);
    await before;
    return () => {
      if (this.#tails.get(userId) === mine) this.#tails.delete(userId);
      end();
    };
  }

  /** Whether nobody holds or awaits the user's turn. */
  isFree(userId) {
    return !this.#tails.has(userId);
  }
}
