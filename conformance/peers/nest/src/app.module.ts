// What the application consists of. Everything may ask for the settings and for Redis; all else is imported where it is used.

import { Global, Module, type DynamicModule } from '@nestjs/common';

import { ConformanceModule } from './conformance/conformance.module.js';
import { NotificationsModule } from './notifications/notifications.module.js';
import { RedisService } from './redis.service.js';
import { Settings } from './settings.js';

@Global()
@Module({})
export class AppModule {
  static with(settings: Settings): DynamicModule {
    return {
      module: AppModule,
      imports: [NotificationsModule, ConformanceModule],
      providers: [{ provide: Settings, useValue: settings }, RedisService],
      exports: [Settings, RedisService],
    };
  }
}
