#!/usr/bin/env node
'use strict';

require('./binary.js').run('notify-load');
