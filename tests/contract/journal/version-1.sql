BEGIN TRANSACTION;
CREATE TABLE journal (
	"key" VARCHAR(32) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "journal" VALUES('schema','1');
CREATE TABLE runs (
	sequence INTEGER NOT NULL, 
	id VARCHAR(64) NOT NULL, 
	suite VARCHAR(128) NOT NULL, 
	started_at VARCHAR(40) NOT NULL, 
	host VARCHAR(256) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	model VARCHAR(128) NOT NULL, 
	runtime VARCHAR(64) NOT NULL, 
	precision VARCHAR(16) NOT NULL, 
	resolution VARCHAR(16) NOT NULL, 
	threads INTEGER NOT NULL, 
	process INTEGER NOT NULL, 
	artifact_sha256 VARCHAR(64), 
	record TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (id)
);
INSERT INTO "runs" VALUES(1,'a','20261101-1200','2026-11-24T12:00:01+00:00','pi','measurement','m','litert','int8','480x640',1,1,NULL,'{"id":"a","suite":"20261101-1200","started_at":"2026-11-24T12:00:01Z","process":1,"cell":{"model":"m","options":{},"runtime":"litert","format":"tflite","precision":"int8","resolution":"480x640","threads":1},"artifact":null,"multiply_adds":null,"runtime_version":null,"target":{"host":"pi","transport":"ssh","arch":"aarch64","os":"o","kernel":"k","cpu":"c","board":null,"cores":[{"index":0,"max_khz":null,"part":null}],"memory_bytes":null,"free_bytes":null,"libc":null,"python":null,"features":[]},"spec":{"metric":"latency","warmup_runs":5,"warmup_secs":0.5,"min_runs":30,"min_secs":1.0,"max_secs":30.0,"processes":3,"threads":1,"cpus":[0,1],"cooldown_secs":0.0,"timeout_secs":300.0},"before":null,"after":null,"raw":"{\"quotes\": \"'' \\\" \\u0000 ünï\"}\n","outcome":{"samples":[1,2,3],"warmup":[6],"first":4,"load":5,"peak_rss_bytes":null,"clock_resolution_ns":null,"cpus":null,"others_busy_cores":null},"tool":{}}');
INSERT INTO "runs" VALUES(2,'b','20261101-1200','2026-11-24T12:00:02+00:00','pi','failure','m','litert','int8','480x640',1,2,NULL,'{"id":"b","suite":"20261101-1200","started_at":"2026-11-24T12:00:02Z","process":2,"cell":{"model":"m","options":{},"runtime":"litert","format":"tflite","precision":"int8","resolution":"480x640","threads":1},"artifact":null,"multiply_adds":null,"runtime_version":null,"target":{"host":"pi","transport":"ssh","arch":"aarch64","os":"o","kernel":"k","cpu":"c","board":null,"cores":[{"index":0,"max_khz":null,"part":null}],"memory_bytes":null,"free_bytes":null,"libc":null,"python":null,"features":[]},"spec":{"metric":"latency","warmup_runs":5,"warmup_secs":0.5,"min_runs":30,"min_secs":1.0,"max_secs":30.0,"processes":3,"threads":1,"cpus":[0,1],"cooldown_secs":0.0,"timeout_secs":300.0},"before":null,"after":null,"raw":"{\"quotes\": \"'' \\\" \\u0000 ünï\"}\n","outcome":{"kind":"timeout","message":"it''s slow","transient":false},"tool":{}}');
INSERT INTO "runs" VALUES(3,'c','counted','2026-11-24T12:00:01+00:00','pi','measurement','m','litert','int8','480x640',1,1,NULL,'{"id":"c","suite":"counted","started_at":"2026-11-24T12:00:01Z","process":1,"cell":{"model":"m","options":{},"runtime":"litert","format":"tflite","precision":"int8","resolution":"480x640","threads":1},"artifact":null,"multiply_adds":null,"runtime_version":null,"target":{"host":"pi","transport":"ssh","arch":"aarch64","os":"o","kernel":"k","cpu":"c","board":null,"cores":[{"index":0,"max_khz":null,"part":null}],"memory_bytes":null,"free_bytes":null,"libc":null,"python":null,"features":[]},"spec":{"metric":"instructions","warmup_runs":5,"warmup_secs":0.5,"min_runs":30,"min_secs":1.0,"max_secs":30.0,"processes":3,"threads":1,"cpus":null,"cooldown_secs":0.0,"timeout_secs":300.0},"before":null,"after":null,"raw":"{\"quotes\": \"'' \\\" \\u0000 ünï\"}\n","outcome":{"samples":[1,2,3],"warmup":[6],"first":4,"load":5,"peak_rss_bytes":null,"clock_resolution_ns":null,"cpus":null,"others_busy_cores":null},"tool":{}}');
CREATE TABLE suites (
	id VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	host VARCHAR(256) NOT NULL, 
	created_at VARCHAR(40) NOT NULL, 
	definition TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "suites" VALUES('20261101-1200','table8','pi','2026-11-25T01:50:34.959600+00:00','{"models": ["m"]}');
CREATE INDEX ix_runs_model ON runs (model);
CREATE INDEX ix_runs_suite ON runs (suite);
COMMIT;
