% A tank that learns to keep its level, in MATLAB or Octave:
%   octave-cli tank.m http://HUB:8000 DEVICE KEY [STEPS]
% In MATLAB set url, device, key and steps by hand. Octave's webwrite sends form fields only, and the hub takes them.
if exist("OCTAVE_VERSION", "builtin")
  words = argv();
  url = words{1}; device = words{2}; key = words{3};
  steps = 100;
  if numel(words) > 3, steps = str2double(words{4}); end
end
options = weboptions("HeaderFields", {"Authorization", ["Bearer " key]}, "Timeout", 10);
boot = mod(floor(now() * 86400), 2^32);          % seconds: never the same again
level = 1;
for step = 0:steps - 1
  observation = struct("device", device, "b", boot, "s", step, "r", -abs(level - 2));
  text = strrep(jsonencode(observation), "}", sprintf(",\"o\":[%.9g]}", level));
  for attempt = 1:10                             % the same step again, until it is answered
    try
      answer = webwrite([url "/v1/step"], "json", text, options);
      break
    catch problem
      if attempt == 10, rethrow(problem); end
      pause(1)
    end
  end
  if ischar(answer), answer = jsondecode(answer); end
  level = max(0, level + 0.05 * answer.a - 0.04 * sqrt(level));
end
printf("%d steps, the level at %.2f m\n", steps, level);
