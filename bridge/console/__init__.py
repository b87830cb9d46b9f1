"""The console at `/console/`: pages for people, over the same acts and the same log.

app         the routes, who may reach them, and what stands around every answer
sessions    who has logged in, from which browser
backoff     how long after wrong passwords the next one has to wait
access      what a person may see and touch: every page and every act asks here
desk        what the pages share: acts, questions to the log, templates
live        server-sent events: what changes on an open page
others      a file a page or a few of one kind
"""
