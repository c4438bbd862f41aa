#!/usr/bin/env bash
# What people try first, in an empty directory, with the offline backend and no key. Each step must end as it says.
set -euo pipefail

step=0
try() { # a command that succeeds
    step=$((step + 1))
    echo "$step. $*"
    "$@" > out.txt 2> err.txt || { echo "failed with $?:"; cat out.txt err.txt; exit 1; }
}
refused() { # a word of the message, then a command that fails with a message that says what to do
    local word=$1
    shift
    step=$((step + 1))
    echo "$step. $* (refused)"
    if "$@" > out.txt 2> err.txt; then echo "it succeeded"; exit 1; fi
    grep -q -- "$word" err.txt || { echo "the message does not say $word:"; cat err.txt; exit 1; }
}
python() { # the Python of anymedia
    "${PYTHON:-python3}" "$@"
}

try anymedia --version
try anymedia --help
try anymedia doctor
try anymedia models
try anymedia models search video
try anymedia plan image "a red fox in snow"
try anymedia image "a red fox in snow" --size 64x64
try anymedia image "a red fox in snow" --size 64x64 -o fox.png
refused "-f" anymedia image "a red fox in snow" --size 64x64 -o fox.png
try anymedia image "a red fox in snow" --size 64x64 -f -o fox.png
try anymedia image "a red fox in snow" --size 500 -o large.png
try anymedia image "a red fox in snow" --size '64*64' -o fox.jpg
try anymedia image "a red fox in snow" --size 64x64 -n 3 -o foxes/
try anymedia image "a red fox in snow" --size 64x64 -n 2 -o 'fox-{index:03d}-{seed}.png'
refused "OPENAI_API_KEY" anymedia image "a red fox" -b openai
refused "image" anymedia imge "a red fox"
refused "WIDTHxHEIGHT" anymedia image "a red fox" --size big
refused "'64x64'" anymedia image "a red fox" --size 64
refused "in quotes" anymedia image a red fox
refused "'make it winter'" anymedia edit fox.png make it winter
refused "edit fox.png stars" anymedia edit stars fox.png
refused "gpt-image-2" anymedia image "a red fox" -m gtp-image-2
refused "mp4, webm, mov" anymedia video waves -o waves.avi
refused "follow the command" anymedia --size 64x64 image "a red fox"
refused " more, not" anymedia say "Hello." --voice nobody
try anymedia help image
try anymedia image "a lake" --size 64x64 -o lake.bmp
try anymedia image "a lake" --size 64x64 -o 'my lake ü 湖.png'
try anymedia image "a lake" --size 64x64 -n 8 -o many/
try anymedia image "a lake" --background transparent --size 64x64 -o logo.jpg
grep -q "is named 'logo.png'" err.txt
try anymedia edit fox.png "a starry night" -f -o night.png
try anymedia edit fox.png "a moon" --mask fox.jpg -o moon.png
try anymedia image --continue last "with a lighthouse" -o lighthouse.png
try anymedia video night.png "clouds and birds" -s 1 --size 64x64 -o clip.mp4
try anymedia video --continue last "sunrise" -s 1 -o longer.mp4
refused "--continue clip.mp4" anymedia video clip.mp4 "sunrise"
try anymedia say "Hello." -o hello.wav
try anymedia music "calm piano" -s 1 -o calm.wav
try bash -c 'echo "a mountain lake" | anymedia image - --size 64x64 -o lake.png'
try bash -c 'anymedia image "a lake" --size 64x64 -o - | cat > piped.png'
try bash -c 'anymedia image "a lake" --size 64x64 --json | "${PYTHON:-python3}" -m json.tool'
printf 'a fox\na lake\n' > prompts.txt
try anymedia batch prompts.txt
try anymedia batch prompts.txt
grep -q "2 earlier" err.txt
try anymedia jobs
try bash -c 'anymedia jobs show "$(anymedia jobs list --limit 1 | tail -1 | cut -d " " -f 1)"'
try anymedia cost
try anymedia completion bash
try python -c 'import anymedia; anymedia.image("a red fox in snow", size="64x64").save("python.png")'
try python -c 'import anymedia; print(anymedia.edit("fox.png", "in winter", output="winter.png").path)'
try python -c 'import anymedia, asyncio; print(asyncio.run(anymedia.aio.speech("Hello.")))'
refused "size" python -c 'import anymedia; anymedia.image("a red fox", size="big")'
try anymedia tour --help
try anymedia gallery --help

for file in fox.png fox.jpg night.png moon.png lighthouse.png clip.mp4 longer.mp4 hello.wav calm.wav lake.png piped.png python.png winter.png; do
    test -s "$file" || { echo "$file is missing"; exit 1; }
done
echo "all $step steps ended as they should"
