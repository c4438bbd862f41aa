-- A journal of version 5: that of version 4 after its migration. @FOLDER@ is replaced by the test.
BEGIN TRANSACTION;
CREATE TABLE artifacts (
        call_id TEXT NOT NULL, kind TEXT NOT NULL, "index" INTEGER NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
        mime TEXT, realm TEXT NOT NULL, created_at REAL NOT NULL, exported_at REAL, PRIMARY KEY (call_id, kind, "index")
    ) STRICT, WITHOUT ROWID;
CREATE TABLE budgets (
        scope TEXT NOT NULL, period TEXT NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (scope, period)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "budgets" VALUES('all','2026-11-29',780000000);
INSERT INTO "budgets" VALUES('backend:fake','2026-11-29',780000000);
INSERT INTO "budgets" VALUES('realm-backend:fake:local','2026-11-29',780000000);
INSERT INTO "budgets" VALUES('realm:local','2026-11-29',780000000);
INSERT INTO "budgets" VALUES('realm:local','run_878436018efc',780000000);
INSERT INTO "budgets" VALUES('session:run_878436018efc','',780000000);
CREATE TABLE calls (number INTEGER PRIMARY KEY AUTOINCREMENT, "id" TEXT NOT NULL UNIQUE, "run" TEXT, "index" INTEGER NOT NULL, "state" TEXT, "backend" TEXT, "model" TEXT, "operation" TEXT, "idempotency_key" TEXT, "session" TEXT, "created_at" REAL NOT NULL, "updated_at" REAL NOT NULL, "submits" INTEGER NOT NULL, "cost_usd" REAL, "owner" TEXT, "lease_until" REAL NOT NULL, "fence" INTEGER NOT NULL, "quote_low" REAL, "quote_high" REAL, "request" TEXT, "plan" TEXT, "target" TEXT, "attempts" TEXT, "job" TEXT, "outcome" TEXT, "secret" TEXT, "result" TEXT, "error" TEXT, "realm" TEXT NOT NULL DEFAULT 'local', "account" TEXT NOT NULL DEFAULT 'unknown', "project" TEXT, "run_key" TEXT, "conflict" TEXT, "provider_job" TEXT) STRICT;
INSERT INTO "calls" VALUES(1,'job_59d34b1b4801','job_59d34b1b4801',0,'done','fake','still','generate_image','key_30ca4d8f984a','run_878436018efc',1.79597587678928542137e+09,1795975876.9592,1,0.08,NULL,0.0,1,0.1,0.1,'{"kind":"generate_image","prompt":"a red fox","n":1,"size":"64x48"}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per image","named":false}','{"media":"image","output":{"stem":"fox","suffix":".png","overwrite":false,"made_up":false,"makes_folders":false,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".png","transcode_to":null,"first":0,"of":1,"prefix":"fake_img","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[]',NULL,'{"pieces":[{"mime":"image/png","text":null,"continuation":{"data":{"turn":"job_59d34b1b4801"},"expires_at":null},"spool":["@FOLDER@/.anymedia-job_59d34b1b4801-0.spool","e9b724ec340727083da27f9177fb1802e6b7c77519d4a193c18a5506d3623aff"]}],"continued_as":null,"cost_usd":0.08,"usage":{},"request_id":"req-1","warnings":[]}',NULL,'{"files":[{"path":"@FOLDER@/fox.png","mime":"image/png","bytes":139,"sha256":"e9b724ec340727083da27f9177fb1802e6b7c77519d4a193c18a5506d3623aff","width":64,"height":48,"continuation_id":"fake_img_55c07417898d"}],"request_id":"req-1","continued_as":null,"warnings":[],"usage":{},"cost_usd":0.08,"texts":[],"outside_mask_difference":null}',NULL,'local','unknown',NULL,NULL,NULL,NULL);
INSERT INTO "calls" VALUES(2,'job_0ff82f2d9815','job_0ff82f2d9815',0,'refused','fake','still','generate_image','key_d2649d0201cb','run_878436018efc',1.79597587698016452791e+09,1.79597587700032949452e+09,1,NULL,NULL,0.0,1,0.1,0.1,'{"kind":"generate_image","prompt":"refused","n":1}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per image","named":false}','{"media":"image","output":{"stem":"2026-11-29-refused","suffix":".png","overwrite":false,"made_up":true,"makes_folders":true,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".png","transcode_to":null,"first":0,"of":1,"prefix":"fake_img","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[{"error":"bad_backend_response","delivery":"refused","backend":"fake","model":"still"}]',NULL,NULL,NULL,NULL,'{"code":"bad_backend_response","message":"rejected with 400","fix":"","try_backends":[],"retry":false,"charged":"no","job_id":"job_0ff82f2d9815","backend":"fake","model":"still","delivery":"refused"}','local','unknown',NULL,NULL,NULL,NULL);
INSERT INTO "calls" VALUES(3,'job_966884eeb4e0','job_966884eeb4e0',0,'unknown','fake','still','generate_image','key_158352fa0bdd','run_878436018efc',1.79597587701980566975e+09,1.79597588107536864279e+09,1,NULL,NULL,0.0,2,0.1,0.1,'{"kind":"generate_image","prompt":"unknown outcome","n":1}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per image","named":false}','{"media":"image","output":{"stem":"2026-11-29-unknown-outcome","suffix":".png","overwrite":false,"made_up":true,"makes_folders":true,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".png","transcode_to":null,"first":0,"of":1,"prefix":"fake_img","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[{"error":"submission_unknown","delivery":"unknown","backend":"fake","model":"still"}]',NULL,NULL,NULL,NULL,'{"code":"submission_unknown","message":"''fake/still'' may have received the request, but no usable answer came back (no answer came back (TransportError)); up to 0.1 USD may be charged.","fix":"It was not sent again. Look for it in the provider''s own list of requests, or with: anymedia jobs resume job_966884eeb4e0","try_backends":[],"retry":false,"charged":"unknown","job_id":"job_966884eeb4e0","backend":"fake","model":"still","delivery":"unknown"}','local','unknown',NULL,NULL,NULL,NULL);
INSERT INTO "calls" VALUES(4,'job_03c569dd86c0','job_03c569dd86c0',0,'running','fake','moving','generate_video','key_65a2551d6558','run_878436018efc',1.79597588110393261914e+09,1.79597588164194440843e+09,1,NULL,NULL,0.0,2,0.2,0.2,'{"kind":"generate_video","prompt":"waves","duration":4,"n":1}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per second","named":false}','{"media":"video","output":{"stem":"waves","suffix":".mp4","overwrite":false,"made_up":false,"makes_folders":false,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".mp4","transcode_to":null,"first":0,"of":1,"prefix":"fake_vid","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[]','{"id":"vid-2","data":{},"poll_after":null,"expires_at":null}',NULL,NULL,NULL,NULL,'local','unknown',NULL,NULL,NULL,'vid-2');
INSERT INTO "calls" VALUES(5,'job_c277c65c4019','job_c277c65c4019',0,'running','fake','moving','generate_video','key_798ecc62c926','run_878436018efc',1.79597588114131331447e+09,1.79597588169788885121e+09,1,NULL,NULL,0.0,2,0.2,0.2,'{"kind":"generate_video","prompt":"clouds","duration":4,"n":1}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per second","named":false}','{"media":"video","output":{"stem":"clouds","suffix":".mp4","overwrite":false,"made_up":false,"makes_folders":false,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".mp4","transcode_to":null,"first":0,"of":1,"prefix":"fake_vid","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[]','{"id":"vid-2","data":{},"poll_after":null,"expires_at":null}',NULL,NULL,NULL,NULL,'local','unknown',NULL,NULL,'job_03c569dd86c0','vid-2');
INSERT INTO "calls" VALUES(6,'job_ceef253e922e','job_ceef253e922e',0,'cancelled','fake','moving','generate_video','key_4c6d9072d1e1','run_878436018efc',1.79597588119287061695e+09,1.79597588237204217912e+09,1,NULL,NULL,0.0,3,0.2,0.2,'{"kind":"generate_video","prompt":"to be cancelled","duration":4,"n":1}','{"adjustments":[],"warnings":[],"calls":1,"disclosure":"","continued_as":null,"quote_basis":"per second","named":false}','{"media":"video","output":{"stem":"2026-11-29-to-be-cancelled","suffix":".mp4","overwrite":false,"made_up":true,"makes_folders":true,"walled":false,"field":"$.output_path","mode":420,"root":"@FOLDER@","steps":[]},"suffix":".mp4","transcode_to":null,"first":0,"of":1,"prefix":"fake_vid","earlier_files":[],"protect":false,"protection":null,"input_roots":null}','[]','{"id":"vid-4","data":{},"poll_after":null,"expires_at":null}',NULL,NULL,NULL,'{"code":"cancelled","message":"it was stopped at the provider while at work","charged":"unknown"}','local','unknown',NULL,NULL,NULL,'vid-4');
CREATE TABLE continuation_files (
        sha256 TEXT NOT NULL, continuation INTEGER NOT NULL, PRIMARY KEY (sha256, continuation)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "continuation_files" VALUES('e9b724ec340727083da27f9177fb1802e6b7c77519d4a193c18a5506d3623aff',1);
CREATE TABLE continuations (
        number INTEGER PRIMARY KEY AUTOINCREMENT, realm TEXT NOT NULL DEFAULT 'local', id TEXT NOT NULL, media TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL, shown TEXT NOT NULL, secret TEXT NOT NULL, UNIQUE (realm, id)
    ) STRICT;
INSERT INTO "continuations" VALUES(1,'local','fake_img_55c07417898d','image',1.79597587695913338658e+09,NULL,'{"id":"fake_img_55c07417898d","backend":"fake","model":"still","media":"image","data":{"turn":"job_59d34b1b4801"},"files":[{"path":"@FOLDER@/fox.png","sha256":"e9b724ec340727083da27f9177fb1802e6b7c77519d4a193c18a5506d3623aff","mime":"image/png","width":64,"height":48,"seconds":null}],"created_at":1795975876.9591334,"expires_at":null}','{}');
CREATE TABLE durations (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, seconds REAL NOT NULL) STRICT;
CREATE TABLE ledger (
        call_id TEXT PRIMARY KEY, session TEXT NOT NULL, backend TEXT NOT NULL, created_at REAL NOT NULL,
        reserved INTEGER NOT NULL CHECK (reserved >= 0), committed INTEGER NOT NULL CHECK (committed >= 0),
        unknown INTEGER NOT NULL
    , realm TEXT NOT NULL DEFAULT 'local', project TEXT) STRICT, WITHOUT ROWID;
INSERT INTO "ledger" VALUES('job_03c569dd86c0','run_878436018efc','fake',1.79597588110393261914e+09,200000000,0,0,'local',NULL);
INSERT INTO "ledger" VALUES('job_0ff82f2d9815','run_878436018efc','fake',1.79597587698016452791e+09,0,0,0,'local',NULL);
INSERT INTO "ledger" VALUES('job_59d34b1b4801','run_878436018efc','fake',1.79597587678928542137e+09,0,80000000,0,'local',NULL);
INSERT INTO "ledger" VALUES('job_966884eeb4e0','run_878436018efc','fake',1.79597587701980566975e+09,100000000,0,0,'local',NULL);
INSERT INTO "ledger" VALUES('job_c277c65c4019','run_878436018efc','fake',1.79597588114131331447e+09,200000000,0,0,'local',NULL);
INSERT INTO "ledger" VALUES('job_ceef253e922e','run_878436018efc','fake',1.79597588119287061695e+09,0,200000000,1,'local',NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('account_key',X'E7289A5AE00F7A0D35865BFD626600073D4FCD656E8D451F41FE8B5731891048');
CREATE TABLE run_keys (
        realm TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, request_digest TEXT NOT NULL,
        created_at REAL NOT NULL, forgotten_at REAL, PRIMARY KEY (realm, key)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE slots (
        number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, call_id TEXT NOT NULL UNIQUE, granted_at REAL
    ) STRICT;
CREATE INDEX calls_by_run ON calls (run);
CREATE INDEX calls_by_state ON calls (state, created_at);
CREATE INDEX calls_by_time ON calls (created_at);
CREATE INDEX ledger_by_time ON ledger (created_at, backend, reserved, committed);
CREATE INDEX ledger_by_session ON ledger (session, created_at, backend, reserved, committed);
CREATE INDEX durations_by_key ON durations (key, number);
CREATE UNIQUE INDEX calls_by_job ON calls (
        CASE account WHEN 'unknown' THEN backend || ' ' || account ELSE account END, provider_job
    ) WHERE provider_job IS NOT NULL AND conflict IS NULL;
CREATE INDEX calls_by_provider_job ON calls (provider_job);
CREATE INDEX calls_by_realm ON calls (realm, created_at);
CREATE INDEX calls_by_owner ON calls (owner);
CREATE INDEX artifacts_by_content ON artifacts (sha256, realm);
CREATE INDEX continuations_by_time ON continuations (created_at);
CREATE INDEX continuations_by_id ON continuations (id);
CREATE INDEX continuations_by_realm ON continuations (realm, created_at);
CREATE INDEX continuation_files_by_number ON continuation_files (continuation);
CREATE INDEX slots_by_account ON slots (account);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('calls',6);
INSERT INTO "sqlite_sequence" VALUES('continuations',1);
PRAGMA application_id = 1634629997;
PRAGMA user_version = 5;
COMMIT;
