// One thing at a time for each user, in the order of asking: so that a queue that is being delivered and new events never cross.

import { Injectable } from '@nestjs/common';

@Injectable()
export class UserTurns {
  private readonly last = new Map<string, Promise<unknown>>();

  /** Does the task once every earlier one of the user is done, however that ended. */
  take<T>(userId: string, task: () => T | Promise<T>): Promise<T> {
    const before = this.last.get(userId) ?? Promise.resolve();
    const mine = before.then(task, task);
    this.last.set(userId, mine);
    const forget = () => {
      if (this.last.get(userId) === mine) this.last.delete(userId);
    };
    mine.then(forget, forget);
    return mine;
  }
}
