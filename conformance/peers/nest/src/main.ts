// Puts the application together and serves until it is told to stop.

import 'reflect-metadata';

import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';

import { AppModule } from './app.module.js';
import { NotificationsAdapter } from './notifications/notifications.adapter.js';
import { corsOptions } from './origins.js';
import { readSettings, SettingsError, type Settings } from './settings.js';

function settingsOrExit(): Settings {
  try {
    return readSettings(process.env);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    console.error(`the configuration is wrong:\n${error.message}`);
    process.exit(2);
  }
}

const settings = settingsOrExit();
const app = await NestFactory.create<NestExpressApplication>(AppModule.with(settings), {
  logger: ['error', 'warn'],
  // The conformance module reads bodies itself, for each route has a limit of its own.
  bodyParser: false,
  // Else a client that keeps its connection would hold up the end of the process.
  forceCloseConnections: true,
});
app.disable('x-powered-by');
app.enableCors(corsOptions(settings.origins));
app.useWebSocketAdapter(new NotificationsAdapter(app, settings));
app.enableShutdownHooks();
// A request head that does not come is given up, and looked for each second rather than each half minute (LIMIT-02).
Object.assign(app.getHttpServer(), { headersTimeout: 8_000, connectionsCheckingInterval: 1_000 });
await app.listen(settings.port, settings.host);
console.log(`listening at ${await app.getUrl()}`);
